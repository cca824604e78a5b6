package sinks

import (
	"context"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// A drawer is a sink that only can be read.
type drawer struct {
	agent.Store // for the methods that are not called
	text        string
	err         error
}

func (drawer) Put(context.Context, agent.Token) (agent.Written, error) { return agent.Written{}, nil }
func (drawer) Path() string                                            { return "/t" }
func (d drawer) Read(context.Context) (agent.Secret, error) {
	return agent.NewSecret(d.text), d.err
}

func TestFilesTellTheStateOfTheirToken(t *testing.T) {
	const header, signature = "eyJhbGciOiJub25lIn0.", ".c2ln"
	for name, c := range map[string]struct {
		sink    drawer
		want    agent.State
		expires time.Time
		fails   string
	}{
		"expired":    {drawer{text: header + "eyJleHAiOjE3MDAwMDAwMDB9" + signature}, agent.Expired, time.Unix(1700000000, 0), ""},
		"valid":      {drawer{text: header + "eyJleHAiOjQxMDI0NDQ4MDB9" + signature}, agent.Valid, time.Unix(4102444800, 0), ""},
		"no expiry":  {drawer{text: header + "e30" + signature}, agent.Valid, time.Time{}, ""},
		"opaque":     {drawer{text: "opaque-0123"}, agent.Valid, time.Time{}, ""},
		"missing":    {drawer{err: fs.ErrNotExist}, agent.Missing, time.Time{}, ""},
		"unreadable": {drawer{err: fs.ErrPermission}, agent.Missing, time.Time{}, "permission denied"},
		"damaged":    {drawer{text: header + "e30x" + signature}, agent.Missing, time.Time{}, " "},
	} {
		t.Run(name, func(t *testing.T) {
			got := Records(nil).Look(t.Context(), agent.Target{Sink: c.sink}, time.Now())
			if got.State != c.want || !got.Expires.Equal(c.expires) {
				t.Errorf("state %s, expires %v", got.State, got.Expires)
			}
			if (c.fails != "") != (got.Failing != nil) || got.Failing != nil && !strings.Contains(got.Failing.Error, c.fails) {
				t.Errorf("failing is %+v", got.Failing)
			}
		})
	}
}

// A drawerWithRecord is a drawer whose file differs from its record in the way that it says.
type drawerWithRecord struct {
	drawer
	difference string
}

func (r drawerWithRecord) Adopt(context.Context, json.RawMessage) (string, error) {
	return r.difference, nil
}

func TestTheRecordOfAFileTellsWhenItsTokenEnds(t *testing.T) {
	past, future := time.Unix(1700000000, 0), time.Unix(4102444800, 0)
	opaque, template := drawer{text: "opaque-0123"}, drawer{err: agent.ErrNotReadBack}
	jwt := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}
	for name, c := range map[string]struct {
		sink    drawerWithRecord
		record  time.Time
		want    agent.State
		expires time.Time
		fails   bool
	}{
		"an opaque token that has expired":   {drawerWithRecord{drawer: opaque}, past, agent.Expired, past, false},
		"a template whose token has expired": {drawerWithRecord{drawer: template}, past, agent.Expired, past, false},
		"a template whose token is valid":    {drawerWithRecord{drawer: template}, future, agent.Valid, future, false},
		"a template that somebody changed":   {drawerWithRecord{template, "its size is 3, not 5"}, past, agent.Missing, time.Time{}, true},
		"a template without a record":        {drawerWithRecord{drawer: template}, time.Time{}, agent.Valid, time.Time{}, false},
		"a JWT that ended sooner":            {drawerWithRecord{drawer: jwt}, past, agent.Expired, past, false},
		"a JWT that somebody changed":        {drawerWithRecord{jwt, "its size is 3, not 5"}, past, agent.Valid, future, false},
		"a JWT without a record":             {drawerWithRecord{drawer: jwt}, time.Time{}, agent.Valid, future, false},
		"a damaged JWT as it was written":    {drawerWithRecord{drawer: drawer{text: "eyJhbGciOiJub25lIn0.e30x.c2ln"}}, future, agent.Valid, future, false},
	} {
		t.Run(name, func(t *testing.T) {
			known := Records{}
			if !c.record.IsZero() {
				known["/t"] = agent.Record{Expires: c.record}
			}
			got := known.Look(t.Context(), agent.Target{Sink: c.sink, Name: "/t"}, time.Now())
			if got.State != c.want || !got.Expires.Equal(c.expires) || (got.Failing != nil) != c.fails {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTokenIsAsGoodAsItsWorstFile(t *testing.T) {
	valid := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln"}
	expired := drawer{text: "eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDB9.c2ln"}
	missing := drawer{err: fs.ErrNotExist}
	for _, c := range []struct {
		sinks []agent.Target
		want  agent.State
	}{
		{[]agent.Target{{Sink: valid}, {Sink: valid}}, agent.Valid},
		{[]agent.Target{{Sink: valid}, {Sink: expired}}, agent.Expired},
		{[]agent.Target{{Sink: missing}, {Sink: expired}, {Sink: valid}}, agent.Missing},
		{[]agent.Target{{Sink: expired}, {Sink: missing}}, agent.Missing},
	} {
		if got := Records(nil).Status(t.Context(), agent.Renewer{Sinks: c.sinks}, time.Now()); got.State != c.want {
			t.Errorf("state %s, want %s", got.State, c.want)
		}
	}
}
