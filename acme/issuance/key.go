package issuance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/acme-ca/acme-ca-operator/acme"
)

// The sizes of RSA modulus that are certified, in bits.
const (
	minModulus = 2048
	maxModulus = 8192
)

// minExponent is the least RSA exponent that is certified: lower ones have been
// broken by careless padding, and every key generator in use writes this one.
const minExponent = 65537

// fermatRounds is how many steps of Fermat's method are tried on a modulus. A
// sound key takes more than the universe has time for; those that were found in
// the wild (CVE-2022-26320) took one or a few.
const fermatRounds = 100

// checkKeySize refuses keys of a kind or size that is not certified, RSA keys so
// large that to verify with them would be an attack among them. That a point is
// on its curve was checked by the parser.
func checkKeySize(key crypto.PublicKey) *acme.Problem {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return checkModulus(key)
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return acme.Problemf(acme.BadCSR, "the key is on the curve %s; P-256, P-384 and P-521 are certified", key.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return acme.Problemf(acme.BadCSR, "the key is of a kind that is not certified: RSA, ECDSA and Ed25519 are")
}

// checkModulus checks the numbers of an RSA key, without computing with them.
func checkModulus(key *rsa.PublicKey) *acme.Problem {
	bits := key.N.BitLen()
	switch {
	case bits < minModulus || bits > maxModulus:
		return acme.Problemf(acme.BadCSR, "the RSA key has %d bits; %d to %d are certified", bits, minModulus, maxModulus)
	case bits%8 != 0:
		return acme.Problemf(acme.BadCSR, "the RSA key has %d bits, which is not a multiple of 8", bits)
	case key.E < minExponent || key.E%2 == 0:
		return acme.Problemf(acme.BadCSR, "the RSA key has the exponent %d; odd ones from %d are certified", key.E, minExponent)
	}
	return nil
}

// checkKeyStrength refuses keys that others know or can compute, as far as that
// can be told from the key: the authority's own, and RSA keys whose private part
// falls to a computation of moments.
func (a *Authority) checkKeyStrength(key crypto.PublicKey) *acme.Problem {
	if samePublicKey(a.issuer.PublicKey, key) {
		return acme.Problemf(acme.BadCSR, "the key is the authority's own")
	}
	k, ok := key.(*rsa.PublicKey)
	switch {
	case !ok:
		return nil
	case hasSmallFactor(k.N):
		return acme.Problemf(acme.BadCSR, "the RSA key is broken: its modulus has a small factor")
	case hasROCAForm(k.N):
		return acme.Problemf(acme.BadCSR, "the RSA key is broken: its modulus has the form of CVE-2017-15361 (ROCA)")
	case hasCloseFactors(k.N):
		return acme.Problemf(acme.BadCSR, "the RSA key is broken: its primes are too close to each other")
	}
	return nil
}

// smallPrimes are the odd primes below 752, the bound of the Baseline
// Requirements §6.1.6 for small factors.
var smallPrimes = oddPrimesBelow(752)

// oddPrimesBelow returns the odd primes below n.
func oddPrimesBelow(n uint64) []uint64 {
	var primes []uint64
next:
	for candidate := uint64(3); candidate < n; candidate += 2 {
		for _, p := range primes {
			if candidate%p == 0 {
				continue next
			}
		}
		primes = append(primes, candidate)
	}
	return primes
}

// modulo returns n mod p, with scratch to spare an allocation for each prime.
func modulo(n *big.Int, p uint64, scratch *big.Int) uint64 {
	return scratch.Mod(n, new(big.Int).SetUint64(p)).Uint64()
}

// hasSmallFactor reports whether n is even or has a factor among the small primes.
func hasSmallFactor(n *big.Int) bool {
	if n.Bit(0) == 0 {
		return true
	}
	scratch := new(big.Int)
	for _, p := range smallPrimes {
		if modulo(n, p, scratch) == 0 {
			return true
		}
	}
	return false
}

// rocaPrimes bounds the primes of the ROCA fingerprint: those to 167 make a
// sound key look broken once in 2²⁷.
const rocaPrimes = 167

// hasROCAForm reports whether n looks like the product of two primes of the form
// k·M + (65537^a mod M), M being a product of small primes, which can be
// factored (Nemec et al., CCS 2017): then n is a power of 65537 modulo each.
func hasROCAForm(n *big.Int) bool {
	scratch := new(big.Int)
	for _, p := range smallPrimes {
		if p > rocaPrimes {
			break
		}
		if !isPowerOf(65537%p, modulo(n, p, scratch), p) {
			return false
		}
	}
	return true
}

// isPowerOf reports whether some power of g is r modulo p.
func isPowerOf(g, r, p uint64) bool {
	for x := g; ; x = x * g % p {
		if x == r {
			return true
		}
		if x == 1 {
			return false
		}
	}
}

// hasCloseFactors tries Fermat's method: n = a² - b² is found in few steps from
// a = ⌈√n⌉ where the factors a-b and a+b are close to each other.
func hasCloseFactors(n *big.Int) bool {
	one := big.NewInt(1)
	a := new(big.Int).Sqrt(n)
	square, root, b2 := new(big.Int), new(big.Int), new(big.Int)
	if square.Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	for range fermatRounds {
		b2.Sub(square.Mul(a, a), n)
		// A square ends in one of 12 of the 64 values of six bits: the root, which
		// costs the most, is taken of a fifth.
		if couldBeSquare(b2) && square.Mul(root.Sqrt(b2), root).Cmp(b2) == 0 {
			return true
		}
		a.Add(a, one)
	}
	return false
}

// couldBeSquare reports whether the last six bits of n are those of a square.
func couldBeSquare(n *big.Int) bool {
	const squares = 1<<0 | 1<<1 | 1<<4 | 1<<9 | 1<<16 | 1<<17 | 1<<25 | 1<<33 | 1<<36 | 1<<41 | 1<<49 | 1<<57
	low := n.Bit(0) | n.Bit(1)<<1 | n.Bit(2)<<2 | n.Bit(3)<<3 | n.Bit(4)<<4 | n.Bit(5)<<5
	return uint64(squares)>>low&1 == 1
}

// describeKey names a public key in an error, by its kind and size.
func describeKey(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA of %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA on " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
