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
//	  issuer             = "https://iam.example.org/"
//	  client_id          = "robot"
//	  client_secret_file = "/etc/tokenagent/secrets/iam"
//	}
type clientCredentials struct{ *asker }

func decodeClientCredentials(b *config.Block) agent.Source {
	set := fetchingDefaults()
	if !b.Decode(&set) {
		return nil
	}
	if set.ClientAuth == "none" {
		b.Warn("client_auth", "a client without authentication", "RFC 6749 section 4.4 has issuers refuse client credentials to it; does the client have a secret?")
	}
	return clientCredentials{set.asker(b)}
}

// Issue asks for a token, once.
func (s clientCredentials) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	answer, err := s.grant(ctx, req, "client_credentials", nil)
	if err != nil {
		return agent.Token{}, err
	}
	return s.token(ctx, req, answer)
}
