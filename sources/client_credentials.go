package sources

import (
	"context"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

// A clientCredentials source has tokens for a client of its own, such as a robot
// of a collaboration registered at INDIGO IAM or Keycloak (RFC 6749 section 4.4):
//
//	source "client_credentials" "iam" {
//	  issuer             = "https://iam.example.org/"      # its metadata tells what the next two leave out
//	  token_endpoint     = "https://iam.example.org/token"
//	  jwks_uri           = "https://iam.example.org/jwk"
//	  client_id          = "robot"
//	  client_auth        = "client_secret_basic"           # or client_secret_post, private_key_jwt, tls_client_auth, none
//	  client_secret_file = "/etc/tokenagent/secrets/iam"   # read at each use; the other ways want client_key_file and client_cert_file,
//	                                                       # or client_assertion_file, a token of a pod in the place of client_auth and any secret
//	  ca_file            = "/etc/grid-security/ca.pem"     # default: the authorities of this machine
//	  audience_parameter = "audience"                      # what the request calls the token block's audience
//	  parameters         = { lifetime = "7200" }           # further ones of the request
//	  verify             = true                            # hold the signature against the issuer's keys
//	  token_format       = "jwt"                           # or "opaque"; default: found out
//	  on_narrowed        = "refuse"                        # or "warn": of a scope or audience that is less than asked for
//	  on_widened         = "refuse"                        # or "warn": of a scope or audience that allows more than was asked for
//	  assume_lifetime    = "20m"                           # of a token that does not say it
//	}
type clientCredentials struct{ *asker }

func decodeClientCredentials(b *config.Block) config.Source {
	set := fetchingDefaults()
	b.Decode(&set)
	if set.ClientAuth == "none" {
		b.Warn("client_auth", "a client without authentication", "RFC 6749 section 4.4 has issuers refuse client credentials to it; does the client have a secret?")
	}
	s := clientCredentials{set.asker(b)}
	return s.facts(s)
}

// Issue asks for a token, once.
func (s clientCredentials) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	answer, err := s.grant(ctx, req, "client_credentials", nil)
	if err != nil {
		return agent.Token{}, err
	}
	return s.token(ctx, req, answer)
}
