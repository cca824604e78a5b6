package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sinks/mapfile"
)

// A clientCA gives a client of the pool a certificate of any name, which HTCondor
// maps by the same file, and by the same rules, as the name of a SciToken.
type clientCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newClientCA(t *testing.T) clientCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	ca := clientCA{key, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}}
	der, err := x509.CreateCertificate(rand.Reader, ca.cert, ca.cert, key.Public(), key)
	check(t, err)
	ca.cert, err = x509.ParseCertificate(der)
	check(t, err)
	return ca
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// give writes a certificate of that name, and its key.
func (ca clientCA) give(t *testing.T, p *pool, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.cert, key.Public(), ca.key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	put(t, p.path("client.pem"), pemOf("CERTIFICATE", der))
	put(t, p.path("client.key"), pemOf("PRIVATE KEY", private))
	check(t, os.Chmod(p.path("client.key"), 0o600))
}

// mapped is whom the collector takes the owner of that certificate for; "" for
// nobody.
func (p *pool) mapped(t *testing.T, ca clientCA, name string) string {
	t.Helper()
	ca.give(t, p, name)
	c := p.command("client", "condor_ping", "-type", "COLLECTOR", "-long", "READ")
	c.Env = append(c.Env, "_condor_SEC_CLIENT_AUTHENTICATION_METHODS=SSL", "_condor_AUTH_SSL_CLIENT_CERTFILE="+p.path("client.pem"), "_condor_AUTH_SSL_CLIENT_KEYFILE="+p.path("client.key"))
	out, _ := c.Output()
	if !strings.Contains(string(out), "\n# READ command") && !strings.HasPrefix(string(out), "# READ command") {
		t.Fatalf("condor_ping as %q:\n%s", name, out)
	}
	_, quoted, _ := strings.Cut(string(out), `MyRemoteUserName = "`)
	identity, _, _ := strings.Cut(quoted, "\"\n")
	return strings.ReplaceAll(identity, `\"`, `"`)
}

// mapLines are the lines of which the names below hit some, one way or the other.
// (HTCondor writes \/ for a slash in the name of a certificate, so there is none.)
const mapLines = `# SSL a comment
SSL /^\/CN=https:a\.example,(.*)$/ slash_\1
SSL ^/CN=https:b\.example,([a-z]+)(-x)?$ \1.\2.\3
SSL "^/CN=https:b2\.example,([a-z]+)(-x)?(y)$" q\1.\2.\3
SSL "/CN=https:c.example,me" exact@elsewhere.example
SSL  "^/CN=https:d\.example,(.*) (.*)$"  "\2+\1"
ssl "^/CN=https:e.*$" lowercase
SSL "^/CN=https:f\.example,X$" upper
SSL /^\/CN=https:g\.example,X$/i insens
SSL /h\.example,(.*)-/U ungreedy_\1
SSL /i\.example,m/joined
SSL "/CN=k.example" first
SSL "/CN=k.example" second
SSL /^\/CN=k2.*/ expression
SSL "/CN=k2.example" literal
SSL "/CN=l.\"q\".example" "quo\"ted"
SSL /((/ invalid
SSL missing
SSL m\.example,(a)|m\.example,(b) \1-\2-\7
SSL n.example
	SSL	tab.example	tabbed
`

var mapNames = []string{
	"https:a.example,bob", "https:b.example,bob", "https:b.example,bob-x", "https:b2.example,boby", "https:c.example,me", "https:c.example,mee",
	"https:d.example,a b", "https:e.example", "https:f.example,x", "https:f.example,X", "https:g.example,x", "h.example,a-b-c", "i.example,m", "k.example", "k2.example",
	`l."q".example`, "missing", "m.example,a", "m.example,b", "n.example", "tab.example", "nobody",
}

func TestMapFilesAsTheRealHTCondorReadsThem(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	ca := newClientCA(t)
	put(t, p.path("cas.pem"), readFile(t, p.path("cert.pem"))+pemOf("CERTIFICATE", ca.cert.Raw))
	config := readFile(t, p.path("manager/config"))
	for hash, marker := range map[bool]string{true: `SSL /^\/CN=marker$/ hash-true`, false: `SSL ^/CN=marker$ hash-false`} {
		put(t, p.path("map"), marker+"\n"+mapLines)
		put(t, p.path("manager/config"), config+fmt.Sprintf("CERTIFICATE_MAPFILE = %s\nCERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = %v\nAUTH_SSL_SERVER_CAFILE = %s\nAUTH_SSL_REQUIRE_CLIENT_CERTIFICATE = True\nALLOW_READ = *\n",
			p.path("map"), hash, p.path("cas.pem")))
		check(t, errors.Join(os.Chmod(p.path("manager"), 0o755), os.Chmod(p.path("manager/config"), 0o644), os.Chmod(p.path("cas.pem"), 0o644), os.Chmod(p.path("map"), 0o644)))
		if out, err := p.command("manager", condorHome+"/usr/sbin/condor_reconfig").CombinedOutput(); err != nil {
			t.Fatalf("condor_reconfig: %v\n%s", err, out)
		}
		eventually(t, "the collector has read the map file", func() bool { return strings.HasPrefix(p.mapped(t, ca, "marker"), fmt.Sprint("hash-", hash)) })
		m, err := mapfile.Read(p.path("map"), mapfile.Rules{HashKeys: hash})
		check(t, err)
		for _, name := range mapNames {
			hit, found, unsure := m.Find("SSL", "/CN="+name)
			want := hit.Mapped
			switch {
			case !found:
				want = "ssl@unmapped"
			case !strings.Contains(want, "@"):
				want += "@" + poolDomain
			}
			if got := p.mapped(t, ca, name); got != want || unsure != nil {
				t.Errorf("hash keys %v: HTCondor maps %q to %q; here line %d gives %q (unsure %v)", hash, name, got, hit.Number, want, unsure)
			}
		}
	}
}
