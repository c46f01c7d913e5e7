package render

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Digest returns a text that changes with the data of the given Secrets and
// ConfigMap data. It stands in pod templates, where more people can read than in
// Secrets; at least one of the Secrets must hold a private key, so that nobody
// can tell by trying what a weak password of another is.
func Digest(config map[string]string, secrets ...*corev1.Secret) string {
	hash := sha256.New()
	add := func(text []byte) {
		// The length keeps two texts from being read as two others.
		hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		hash.Write(text)
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		add([]byte(key))
		add([]byte(config[key]))
	}
	for _, secret := range secrets {
		add([]byte(secret.Name))
		for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
			add([]byte(key))
			add(secret.Data[key])
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}
