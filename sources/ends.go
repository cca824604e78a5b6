package sources

import (
	"fmt"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
)

// lastWeek is how long before its end what a source asks with is warned of.
const lastWeek = 7 * 24 * time.Hour

// endsSoon says that something ends within a week, or has ended, and what to do; "" where
// it does not, or no end is known.
func endsSoon(what string, at, now time.Time, do string) string {
	verb := "ends"
	switch {
	case at.IsZero() || at.Sub(now) >= lastWeek:
		return ""
	case !at.After(now):
		verb = "ended"
	}
	return fmt.Sprintf("%s %s %s; %s", what, verb, at.UTC().Format(time.RFC3339), do)
}

// ends are those of what it asks with.
func (a *asker) ends() (all []config.End) {
	if at, err := a.client.CertificateEnd(); err != nil || !at.IsZero() {
		all = append(all, config.End{What: "client certificate", At: at, Err: err})
	}
	return all
}

const renewCertificate = "renew it, or the issuer refuses this client"

func (a *asker) certificateEndsSoon(now time.Time) string {
	at, _ := a.client.CertificateEnd() // who asks finds what is wrong with the file
	return endsSoon("the client certificate "+a.client.CertFile, at, now, renewCertificate)
}

// inspectEnds warns of certificates that end soon, or have ended.
func (f *fetching) inspectEnds(b *config.Block, now time.Time) {
	at, _ := f.client().CertificateEnd()
	if text := endsSoon(f.ClientCertFile, at, now, renewCertificate); text != "" {
		b.Warn("client_cert_file", "the client certificate ends", text)
	}
	if at, _ = f.address().AuthoritiesEnd(); !at.IsZero() && !at.After(now) {
		b.Warn("ca_file", "the certificates have ended", endsSoon("the last one in "+f.CAFile, at, now, "put that of the issuer's present authority there"))
	}
}
