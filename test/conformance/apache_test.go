package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// apacheConfig is that of Apache httpd with mod_md: its directory; the ports for
// HTTP and HTTPS, and the name; the directory URL and the root; the type of
// challenge; further directives of mod_md.
const apacheConfig = `ServerRoot %[1]q
DefaultRuntimeDir %[1]q
PidFile httpd.pid
Mutex file:%[1]s
ErrorLog /dev/stderr
LogLevel warn md:info
LoadModule mpm_event_module %[2]s/mod_mpm_event.so
LoadModule authz_core_module %[2]s/mod_authz_core.so
LoadModule ssl_module %[2]s/mod_ssl.so
LoadModule md_module %[2]s/mod_md.so
%[3]s
ServerName %[4]s
Listen 127.0.0.1:%[5]d
Listen 127.0.0.1:%[6]d
Protocols http/1.1 acme-tls/1
MDPortMap http:%[5]d https:%[6]d
MDStoreDir md
MDCertificateAuthority %[7]s
MDCACertificateFile %[8]q
MDCertificateAgreement accepted
MDContactEmail admin@conformance.example
MDCAChallenges %[9]s
MDPrivateKeys P-256
%[10]s
MDomain %[4]s
<VirtualHost *:%[5]d>
	ServerName %[4]s
</VirtualHost>
<VirtualHost *:%[6]d>
	ServerName %[4]s
	SSLEngine on
</VirtualHost>
`

// apacheModules is where Debian has them.
const apacheModules = "/usr/lib/apache2/modules"

// prepareApache writes the configuration of Apache httpd with mod_md.
func prepareApache(t *testing.T, l *lab, s site) func(*testing.T) func() {
	t.Helper()
	mustHave(t, "apache2", "apache2")
	dir := publicDir(t)
	root, err := os.ReadFile(l.server.rootFile)
	if err != nil {
		t.Fatal(err)
	}
	rootFile := filepath.Join(dir, "root.pem")
	if err := os.WriteFile(rootFile, root, 0o644); err != nil { //nolint:gosec // a certificate is public
		t.Fatal(err)
	}
	var more []string
	if s.profile != "" {
		more = append(more, "MDProfile "+s.profile, "MDProfileMandatory on")
	}
	if s.profile == brief {
		more = append(more, "MDRenewWindow 99%")
	}
	if s.binding != nil {
		more = append(more, "MDExternalAccountBinding "+s.binding.kid+" "+s.binding.encodedKey())
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "User www-data\nGroup www-data"
	}
	file := filepath.Join(dir, "httpd.conf")
	writeFile(t, file, fmt.Appendf(nil, apacheConfig, dir, apacheModules, user, s.name, l.http01Port, l.tlsALPN01Port,
		l.server.directory, rootFile, s.by, strings.Join(more, "\n")))
	return func(t *testing.T) func() {
		t.Helper()
		return startDaemon(t, restartWhenSetUp, "apache2", "-D", "FOREGROUND", "-f", file)
	}
}

// restartWhenSetUp has Apache read its configuration again when it says that only
// then it takes up a new certificate; its administrators have a job for that.
func restartWhenSetUp(process *os.Process, line []byte) {
	if bytes.Contains(line, []byte("AH10059")) {
		_ = process.Signal(syscall.SIGUSR1) // it may have ended
	}
}

// publicDir returns a directory of the test's that other users can read, as the
// children of a web server that was started by root.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "conformance") //nolint:usetesting // others cannot enter what t.TempDir makes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is to be read
		t.Fatal(err)
	}
	return dir
}
