package issuertest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A Real is an issuer that we did not write, in a process of its own that ends
// with the test. The folders in sources/testdata say what each is.
type Real struct {
	URL        string // the issuer
	CA         *CA    // of its certificate
	SecretFile string // the secret of its clients
	KeyFile    string // the private key of its client that signs

	input  io.Writer
	output *bufio.Reader
	log    string // path of what it writes to its standard error
}

// secret holds what Basic authentication and forms encode differently.
const secret = `a b:c%d+e&f=g/~"\`

// StartZitadel runs the server of zitadel/oidc, which knows two clients: "robot" by a
// secret, and "service" by what KeyFile signs.
// testdata is the path of sources/testdata.
func StartZitadel(t testing.TB, testdata string) *Real {
	t.Helper()
	needLong(t)
	folder := made(t, filepath.Join(testdata, "zitadel"), []string{"main.go", "go.mod", "go.sum"}, func(folder string) {
		need(t, folder, "go", "build", "-o", "zitadel", ".")
	})
	return startReal(t, exec.Command(filepath.Join(folder, "zitadel")))
}

// startReal runs a program that is told the setup of an issuer in its first line.
func startReal(t testing.TB, program *exec.Cmd) *Real {
	t.Helper()
	folder := t.TempDir()
	r := &Real{CA: NewCA(t), SecretFile: filepath.Join(folder, "secret"), KeyFile: filepath.Join(folder, "client.pem"), log: filepath.Join(folder, "log")}
	write(t, r.SecretFile, remember(secret)+"\n")
	client := newKey(t)
	writePEM(t, r.KeyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(client))(t))
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(client.Public()))(t)})
	input := must(program.StdinPipe())(t)
	r.input, r.output = input, bufio.NewReader(must(program.StdoutPipe())(t))
	log := must(os.Create(r.log))(t)
	defer log.Close()
	program.Stderr = log
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		program.Wait()
	})
	cert, key := r.CA.Files(t, nil)
	setup := map[string]string{"cert": read(t, cert), "key": read(t, key), "ca": read(t, r.CA.File), "secret": secret, "publicKey": string(public)}
	var ready struct{ Issuer string }
	r.tell(t, setup, &ready)
	r.URL = ready.Issuer
	return r
}

// tell sends a line to the process and reads its answer.
func (r *Real) tell(t testing.TB, line, answer any) {
	t.Helper()
	if err := json.NewEncoder(r.input).Encode(line); err != nil {
		t.Fatalf("%v\n%s", err, read(t, r.log))
	}
	text, err := r.output.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the issuer ended: %v\n%s", err, read(t, r.log))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// Block are the lines of a source block by which a client with a secret asks it.
func (r *Real) Block(client, auth string) string {
	return r.block(client, auth) + fmt.Sprintf("  client_secret_file = %q\n", r.SecretFile)
}

func (r *Real) block(client, auth string) string {
	return fmt.Sprintf("  issuer = %q\n  ca_file = %q\n  client_id = %q\n  client_auth = %q\n", r.URL, r.CA.File, client, auth)
}

// made is a folder with copies of these files of the folder from, and with what is
// made there of them. It is kept in the user's cache for as long as they stay the
// same.
func made(t testing.TB, from string, files []string, do func(folder string)) string {
	t.Helper()
	texts, sum := map[string]string{}, sha256.New()
	for _, name := range files {
		texts[name] = read(t, filepath.Join(from, name))
		fmt.Fprintf(sum, "%q %q\n", name, texts[name])
	}
	cache := filepath.Join(must(os.UserCacheDir())(t), "tokenagent-tests")
	kept := filepath.Join(cache, fmt.Sprintf("%s-%x", filepath.Base(from), sum.Sum(nil)))
	if _, err := os.Stat(kept); err == nil {
		return kept
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	fresh := must(os.MkdirTemp(cache, "new-"))(t)
	defer os.RemoveAll(fresh)
	for name, text := range texts {
		write(t, filepath.Join(fresh, name), text)
	}
	do(fresh)
	os.Rename(fresh, kept) // fails where another test was faster, which is as good
	return kept
}

// needLong skips a test with an issuer that others wrote where no long tests run:
// it may take minutes to install. make test and CI run them.
func needLong(t testing.TB) {
	t.Helper()
	if os.Getenv("TOKENAGENT_LONG") != "1" && os.Getenv("TOKENAGENT_REQUIRE_REAL") != "1" {
		t.Skip("a long test, which runs with TOKENAGENT_LONG=1, as in make test")
	}
}

// need runs a command in dir that a Real cannot be had without. Where it fails the
// test is skipped, unless TOKENAGENT_REQUIRE_REAL=1 promises that all is there.
func need(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("TOKENAGENT_REQUIRE_REAL") == "1":
		t.Fatalf("%v is required here: %v\n%s", command, err, out)
	default:
		t.Skipf("%v fails here: %v\n%s", command, err, out)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
