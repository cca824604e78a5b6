package issuertest

import (
	"maps"
	"net/http"
	"slices"
	"sync"
)

// secrets are all that issuers of this process gave or were sent. They belong to
// no Issuer, since a search for them covers what ran before an Issuer and after it.
var secrets struct {
	mu  sync.Mutex
	all map[string]bool
}

// Secrets are the tokens, codes, client secrets and assertions that any Issuer of
// this process gave or was sent, for a test that searches output for them.
func Secrets() []string {
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	return slices.Collect(maps.Keys(secrets.all))
}

// remember notes the text, and returns it.
func remember(text string) string {
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	if secrets.all == nil {
		secrets.all = map[string]bool{}
	}
	secrets.all[text] = true
	return text
}

// note remembers the secrets of a request whose form was read.
func note(r *http.Request) {
	for _, name := range []string{"client_secret", "client_assertion", "refresh_token", "subject_token", "actor_token", "device_code", "assertion", "password"} {
		for _, text := range r.PostForm[name] {
			remember(text)
		}
	}
	if _, password := presented(r); password != "" {
		remember(password)
	}
}
