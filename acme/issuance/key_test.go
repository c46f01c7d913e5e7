package issuance

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"

	"github.com/acme-ca/acme-ca-operator/acme"
)

func TestEveryAlgorithmGivesAKeyOfItsKindThatIsCertified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	want := map[KeyAlgorithm]string{
		ECDSAP256: "ECDSA on P-256", ECDSAP384: "ECDSA on P-384", Ed25519: "Ed25519",
		RSA2048: "RSA of 2048 bits", RSA3072: "RSA of 3072 bits", RSA4096: "RSA of 4096 bits", "": "ECDSA on P-256",
	}
	for _, algorithm := range append([]KeyAlgorithm{""}, KeyAlgorithms...) {
		t.Run(string(algorithm), func(t *testing.T) {
			t.Parallel()
			key, err := GenerateKey(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			if got := describeKey(key.Public()); got != want[algorithm] {
				t.Errorf("a key of %s, want %s", got, want[algorithm])
			}
			names := order("a.example").Identifiers
			if _, err := checkRequest(a, newRequest(t, key, names), names); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := GenerateKey("DSA")
	if err == nil || !strings.Contains(err.Error(), "write one of ECDSA-P256, ECDSA-P384, RSA-2048, RSA-3072, RSA-4096, Ed25519") {
		t.Errorf("got %v", err)
	}
}

// number returns 2^bits - d.
func number(bits uint, d int64) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	return n.Sub(n, big.NewInt(d))
}

// prime returns a prime of 1024 bits, of which the two highest are set.
func prime(t *testing.T) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rocaPrime returns a number of the form that the faulty smart cards gave their
// primes: k·M + (65537^a mod M). That it is no prime does not matter here, but that
// it has no factor so small that it would be found by that.
func rocaPrime(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(2)
	for _, p := range oddPrimesBelow(702) {
		m.Mul(m, new(big.Int).SetUint64(p))
	}
	exponent, err := rand.Int(rand.Reader, m)
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).Exp(big.NewInt(65537), exponent, m)
	k := new(big.Int).Div(number(1024, 0), m)
	k.Sub(k, big.NewInt(1)) // or some would have 1025 bits
	n.Add(n, k.Mul(k, m))
	for _, p := range smallPrimes {
		if new(big.Int).Mod(n, new(big.Int).SetUint64(p)).Sign() == 0 {
			return rocaPrime(t)
		}
	}
	return n
}

func TestRSAKeysThatAreNotCertified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	p := prime(t)
	next := new(big.Int).Add(p, big.NewInt(2))
	for !next.ProbablyPrime(20) {
		next.Add(next, big.NewInt(2))
	}
	roca := new(big.Int).Mul(rocaPrime(t), rocaPrime(t))
	for name, test := range map[string]struct {
		n    *big.Int
		e    int
		want string
	}{
		"too few bits":              {number(2040, 1), 65537, "has 2040 bits; 2048 to 8192"},
		"too many":                  {number(8200, 1), 65537, "has 8200 bits; 2048 to 8192"},
		"bits that fill no octet":   {number(2049, 1), 65537, "not a multiple of 8"},
		"an exponent of 3":          {number(2048, 1), 3, "has the exponent 3"},
		"an even exponent":          {number(2048, 1), 65538, "has the exponent 65538"},
		"an even modulus":           {number(2048, 2), 65537, "has a small factor"},
		"a modulus divisible by 3":  {number(2048, 1), 65537, "has a small factor"},
		"primes next to each other": {new(big.Int).Mul(p, next), 65537, "too close"},
		"a square":                  {new(big.Int).Mul(p, p), 65537, "too close"},
		"primes of a faulty card":   {roca, 65537, "ROCA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := &rsa.PublicKey{N: test.n, E: test.e}
			problem := checkKeySize(key)
			if problem == nil {
				problem = a.checkKeyStrength(key)
			}
			if problem == nil {
				t.Fatal("the key was taken")
			}
			_ = wantProblem(t, problem, acme.BadCSR, test.want)
		})
	}
}

func TestAKindOfKeyThatIsNotKnownIsNotCertified(t *testing.T) {
	t.Parallel()
	_ = wantProblem(t, checkKeySize(nil), acme.BadCSR, "not certified: RSA, ECDSA and Ed25519 are")
}

func TestPrimesAreFound(t *testing.T) {
	t.Parallel()
	if n := len(smallPrimes); n != 132 || smallPrimes[0] != 3 || smallPrimes[n-1] != 751 {
		t.Errorf("%d primes from %d to %d", n, smallPrimes[0], smallPrimes[n-1])
	}
}
