package sources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/issuer"
)

// A Mark says how good a Finding is.
type Mark string

// The marks of a Finding.
const (
	Fine    Mark = "ok"
	Warning Mark = "warning" // tokens come, or may, but somebody should see to it
	Wrong   Mark = "fault"   // no token comes, or none that is of use
)

// A Finding is one thing that was looked at, and what was found.
type Finding struct {
	Mark      Mark   `json:"mark"`
	Transient bool   `json:"transient,omitempty"` // a fault that may go away by itself
	About     string `json:"about"`               // what was looked at, in a word or two: "metadata", "clock"
	Text      string `json:"text"`                // what was found and, unless that is fine, what to do

	presumed string // fine after all, in these words, if the source has given a token; "": no token tells
}

// proven are the findings after the source has given a token: what was only
// presumed not to work, such as a grant that the metadata does not list, works.
func proven(found []Finding) []Finding {
	after := slices.Clone(found)
	for i, f := range after {
		if f.presumed != "" {
			after[i] = fine(f.About, "%s", f.presumed)
		}
	}
	return after
}

func fine(about, format string, args ...any) Finding {
	return Finding{Mark: Fine, About: about, Text: fmt.Sprintf(format, args...)}
}

func warned(about, format string, args ...any) Finding {
	return Finding{Mark: Warning, About: about, Text: fmt.Sprintf(format, args...)}
}

func wrong(about, format string, args ...any) Finding {
	return Finding{Mark: Wrong, About: about, Text: fmt.Sprintf(format, args...)}
}

// failed is the Finding of a look that err ended.
func failed(about string, err error) Finding {
	return Finding{Mark: Wrong, Transient: IsTransient(err), About: about, Text: err.Error()}
}

// IsTransient reports whether the error of a source may go away by itself.
func IsTransient(err error) bool {
	f, ok := errors.AsType[*agent.Fault](err)
	return !ok || f.Kind != agent.Configuration
}

// An Inquiry finds out, before anything is issued, whether sources have what they
// need. It asks each issuer once, for all the sources that share it. The zero
// Inquiry has asked nobody.
type Inquiry struct {
	Issuers []string // of all sources of the configuration, to find metadata that mixes them up

	mu      sync.Mutex
	reports map[asked]func() issuer.Report
	servers map[issuer.Address]*issuer.Server // of issuers whose tokens are signed here
}

// asked is who is asked, and by whom as far as that matters: some see a
// certificate before they answer at all.
type asked struct {
	server *issuer.Server
	client issuer.Client
}

// An inquirer is a source that an Inquiry can be made of.
type inquirer interface {
	inquire(ctx context.Context, q *Inquiry, requests []agent.Request) []Finding
}

// Look says what is found of the source, which is to issue for the requests; nil
// for one that needs nothing that is not known by now. All calls are given the same
// ctx; several may be made at once.
func (q *Inquiry) Look(ctx context.Context, s agent.Source, requests []agent.Request) []Finding {
	if i, ok := s.(inquirer); ok {
		return i.inquire(ctx, q, requests)
	}
	return nil
}

// report is what the server has to say to the client, asked for once. The zero
// Client wants only its keys.
func (q *Inquiry) report(ctx context.Context, s *issuer.Server, c issuer.Client) issuer.Report {
	if c != (issuer.Client{}) && c.Auth != "tls_client_auth" {
		c = issuer.Client{Auth: "none"}
	}
	q.mu.Lock()
	report := q.reports[asked{s, c}]
	if report == nil {
		report = sync.OnceValue(func() issuer.Report { return s.Probe(ctx, c) })
		if q.reports == nil {
			q.reports = map[asked]func() issuer.Report{}
		}
		q.reports[asked{s, c}] = report
	}
	q.mu.Unlock()
	return report()
}

// server is the one at the address, of which no source has one of its own.
func (q *Inquiry) server(a issuer.Address) *issuer.Server {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.servers[a] == nil {
		if q.servers == nil {
			q.servers = map[issuer.Address]*issuer.Server{}
		}
		q.servers[a] = issuer.NewServer(a)
	}
	return q.servers[a]
}
