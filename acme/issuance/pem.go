package issuance

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// The labels of PEM blocks (RFC 7468; the older ones are OpenSSL's).
const (
	certificateBlock  = "CERTIFICATE"
	keyBlock          = "PRIVATE KEY"
	ecKeyBlock        = "EC PRIVATE KEY"
	rsaKeyBlock       = "RSA PRIVATE KEY"
	encryptedKeyBlock = "ENCRYPTED PRIVATE KEY"
	ecParametersBlock = "EC PARAMETERS"
)

// EncodeCertificates returns certificates in PEM, in their order.
func EncodeCertificates(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})...)
	}
	return out
}

// EncodeKey returns a private key in PEM (PKCS #8). The key must be one in
// memory, such as [GenerateKey] returns.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// ParseCertificates reads one certificate or more in PEM. A block of another
// kind is an error, as is text that looks like a block and cannot be read: a
// chain of which a part was lost must not go unnoticed.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != certificateBlock {
			return nil, fmt.Errorf("PEM block %d is a %s, and should be a %s", n, block.Type, certificateBlock)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		certificates, data = append(certificates, certificate), rest
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("PEM block %d is damaged", len(certificates)+1)
	}
	if len(certificates) == 0 {
		return nil, errors.New("there is no certificate in PEM (-----BEGIN CERTIFICATE-----)")
	}
	return certificates, nil
}

// ParseKey reads one private key in PEM, in any of the forms that are in use:
// PKCS #8, PKCS #1 and SEC 1.
func ParseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	if block != nil && block.Type == ecParametersBlock { // OpenSSL's, before the key; the key repeats them
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("there is no private key in PEM (-----BEGIN PRIVATE KEY-----)")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("after the private key there is a %s; one key should stand alone", next.Type)
	}
	key, err := parseKeyBlock(block)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key: a %T cannot sign", key)
	}
	return signer, nil
}

// parseKeyBlock reads the key in a PEM block by its label.
func parseKeyBlock(block *pem.Block) (any, error) {
	_, encrypted := block.Headers["DEK-Info"]
	switch {
	case encrypted || block.Type == encryptedKeyBlock:
		return nil, errors.New("it is encrypted, and should be in the clear: the Secret protects it")
	case block.Type == keyBlock:
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == ecKeyBlock:
		return x509.ParseECPrivateKey(block.Bytes)
	case block.Type == rsaKeyBlock:
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return nil, fmt.Errorf("PEM block is a %s, and should be a %s", block.Type, keyBlock)
}
