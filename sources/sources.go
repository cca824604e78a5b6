// Package sources holds the kinds of source block: who issues tokens, and how it
// is asked. Each kind has a file of its own and is reached through [Kinds] alone,
// or [DecodeIssuer], but for [NewLocalKey].
package sources

import (
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/rotation"
)

// Kinds are the kinds of source, by their label.
var Kinds = map[string]config.SourceDecoder{
	"local_key":          decodeLocalKey,
	"htcondor":           decodeHTCondor,
	"htcondor_fetch":     decodeHTCondorFetch,
	"client_credentials": decodeClientCredentials,
	"refresh_token":      decodeRefreshToken,
	"token_exchange":     decodeTokenExchange,
	"jwt_bearer":         decodeJWTBearer,
	"file":               decodeFile,
	"command":            decodeCommand,
}

// Issuers are the issuers of the configuration, each of which is to be kept going by
// [rotation.Issuer.Step].
func Issuers(c *config.Config) (all []*rotation.Issuer) {
	for _, s := range c.Sources {
		if own, ok := s.Source.(*simpleIssuer); ok {
			all = append(all, own.Issuer)
		}
	}
	return all
}
