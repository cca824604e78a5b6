// Command zitadel is an OAuth 2.0 issuer that we did not write, for our tests:
// the server of github.com/zitadel/oidc, over https on the loopback interface.
// Its tokens differ from others' in much that the RFCs leave open: the audience
// is always a list, and they hold no scope, which only the answer says.
//
// It has two clients. robot has a secret. service has none: it signs assertions, to be
// known by them as a client (RFC 7523 section 2.2) or to be given a token for them
// (section 2.1). The library takes no assertion for client credentials.
//
// A line of JSON on its standard input holds cert and key (PEM, for https), the secret of
// robot, and publicKey (PEM), which checks what service signs. A line on its standard
// output answers {"issuer": …}. The process ends with its input, so that it does not
// outlive the test.
package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		log.Fatal(err)
	}
	if err := serve(line); err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, input)
}

// serve answers requests, from now until the process ends.
func serve(line []byte) error {
	var setup struct{ Cert, Key, Secret, PublicKey string }
	if err := json.Unmarshal(line, &setup); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(setup.Cert), []byte(setup.Key))
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return err
	}
	issuer := "https://" + listener.Addr().(*net.TCPAddr).String()
	block, _ := pem.Decode([]byte(setup.PublicKey))
	if block == nil {
		return errors.New("publicKey is not in PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	handler, err := newHandler(issuer, robots{secret: setup.Secret, public: public})
	if err != nil {
		return err
	}
	go http.Serve(listener, handler)
	return json.NewEncoder(os.Stdout).Encode(map[string]string{"issuer": issuer})
}

// newHandler wraps the provider in the library's newer server, as Zitadel itself does. The
// handler of the provider alone takes a client assertion to refresh and to revoke, but not
// to exchange, so its clients without a secret never get the refresh token.
func newHandler(issuer string, r robots) (http.Handler, error) {
	config := &op.Config{AuthMethodPost: true, AuthMethodPrivateKeyJWT: true, GrantTypeRefreshToken: true}
	rand.Read(config.CryptoKey[:])
	r.Storage = storage.NewStorage(storage.NewUserStore(issuer))
	provider, err := op.NewProvider(config, r, op.StaticIssuer(issuer))
	if err != nil {
		return nil, err
	}
	noLogin := http.NotFound // nobody logs in here
	return op.RegisterLegacyServer(op.NewLegacyServer(provider, *op.DefaultEndpoints), noLogin), nil
}

// robots is the storage of zitadel's own example, with two more clients.
type robots struct {
	*storage.Storage
	secret string
	public crypto.PublicKey // of service
}

// robot is one of them. It is given JWTs, by client credentials, token exchange, and the
// refresh token of an exchange.
type robot struct{ op.Client }

// service is the other. It is a robot that signs assertions.
type service struct{ robot }

func (service) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodPrivateKeyJWT }

func (robot) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (robot) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials, oidc.GrantTypeTokenExchange, oidc.GrantTypeRefreshToken}
}

var errNoClient = errors.New("no such client or secret")

func (r robots) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	switch id {
	case "robot":
		return robot{storage.WebClient(id, r.secret)}, nil
	case "service":
		return service{robot{storage.WebClient(id, "")}}, nil
	}
	return nil, fmt.Errorf("%q: %w", id, errNoClient)
}

func (r robots) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != "robot" || secret != r.secret {
		return errNoClient
	}
	return nil
}

func (r robots) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if err := r.AuthorizeClientIDSecret(ctx, id, secret); err != nil {
		return nil, err
	}
	return r.GetClientByClientID(ctx, id)
}

func (r robots) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{"https://storage.example.org"}, Scopes: scopes}, nil
}

// GetKeyByIDAndClientID is the key that service signs its assertions with.
func (r robots) GetKeyByIDAndClientID(_ context.Context, keyID, id string) (*jose.JSONWebKey, error) {
	if id != "service" || keyID != "service-2026" {
		return nil, errNoClient
	}
	return &jose.JSONWebKey{Key: r.public, KeyID: keyID, Use: "sig"}, nil
}

// JWTProfileTokenType is what is given for an assertion.
func (robots) JWTProfileTokenType(context.Context, op.TokenRequest) (op.AccessTokenType, error) {
	return op.AccessTokenTypeJWT, nil
}

// ValidateTokenExchangeRequest lets everybody exchange everything, for an access token
// unless a refresh token is asked for.
func (r robots) ValidateTokenExchangeRequest(_ context.Context, request op.TokenExchangeRequest) error {
	if request.GetRequestedTokenType() != oidc.RefreshTokenType {
		request.SetRequestedTokenType(oidc.AccessTokenType)
	}
	return nil
}

// SetUserinfoFromRequest knows nothing about a robot, who is not a user of the store.
func (robots) SetUserinfoFromRequest(context.Context, *oidc.UserInfo, op.IDTokenRequest, []string) error {
	return nil
}
