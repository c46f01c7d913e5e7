package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/acme-ca/acme-ca-operator/acme/config"
)

const externalKey = "YWFhYWFhYWFhYWFhYWFhYQ" // sixteen octets

// directoryOf returns a directory with files, as the kubelet makes that of a volume.
func directoryOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["..data/hidden"] = "no key"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExternalAccountsAreReadFromADirectoryAndAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	if err := os.WriteFile(file, []byte("team-c: "+externalKey), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readExternalAccounts(&config.ExternalAccounts{
		Required: true, KeysFile: file,
		KeysDirectory: directoryOf(t, map[string]string{"team-a": externalKey, "team-b": externalKey + "==\n"}),
	})
	key := []byte("aaaaaaaaaaaaaaaa")
	if diff := cmp.Diff(map[string][]byte{"team-a": key, "team-b": key, "team-c": key}, got.Keys); diff != "" || err != nil || !got.Required {
		t.Errorf("required %v, error %v, keys (-want +got):\n%s", got.Required, err, diff)
	}
}

func TestAnExternalAccountThatCannotBeReadIsNamedAndItsKeyIsNot(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]config.ExternalAccounts{
		`the key of "team-a" is not base64url of at least 16 octets`: {KeysDirectory: directoryOf(t, map[string]string{"team-a": "hidden"})},
		"externalAccounts.keysDirectory: open":                       {KeysDirectory: filepath.Join(t.TempDir(), "none")},
		"externalAccounts.keysFile: open":                            {KeysFile: filepath.Join(t.TempDir(), "none")},
	} {
		_, err := readExternalAccounts(&c)
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("the error is %v, and should say %s", err, text)
		}
	}
}
