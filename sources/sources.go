// Package sources holds the kinds of source block: who issues tokens, and how it
// is asked. Each kind has a file of its own and is reached through [Kinds] alone,
// but for [NewLocalKey].
package sources

import "github.com/tokenagent/tokenagent/agent/config"

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
