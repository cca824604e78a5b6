// Command go-oidc verifies tokens with github.com/coreos/go-oidc, for our tests. Services
// written in Go verify tokens with it.
//
// Its arguments are the issuer, the audience, and a file with the certificates that it
// trusts. Each line of its standard input is a token, and it answers each with a line: ok,
// or why the token is refused. It reads the metadata once and keeps the keys, as a service
// does. The process ends with its input.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(issuer, audience, authorities string) error {
	text, err := os.ReadFile(authorities)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(text) {
		return errors.New("there is no certificate in " + authorities)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	ctx := oidc.ClientContext(context.Background(), client)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: audience})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer := "ok"
		if _, err := verifier.Verify(ctx, lines.Text()); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	return lines.Err()
}
