package agent

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWaitsAfterFailures(t *testing.T) {
	for name, c := range map[string]struct {
		kind        Kind
		after       time.Duration // Retry-After
		n           int
		remaining   time.Duration
		least, most time.Duration
	}{
		"first":                        {Transient, 0, 1, time.Hour, 5 * time.Second, 10 * time.Second},
		"third":                        {Transient, 0, 3, time.Hour, 20 * time.Second, 40 * time.Second},
		"at most a tenth of the rest":  {Transient, 0, 9, 20 * time.Minute, time.Minute, 2 * time.Minute},
		"at most 5 min":                {Transient, 0, 30, 24 * time.Hour, 150 * time.Second, 300 * time.Second},
		"15 s when nearly expired":     {Transient, 0, 9, time.Second, 7500 * time.Millisecond, 15 * time.Second},
		"at most 2 min when expired":   {Transient, 0, 1000, -time.Hour, time.Minute, 2 * time.Minute},
		"configuration: three tries":   {Configuration, 0, 3, time.Hour, 20 * time.Second, 40 * time.Second},
		"configuration: then slowly":   {Configuration, 0, 4, time.Hour, 10 * time.Minute, 30 * time.Minute},
		"Retry-After":                  {Transient, 200 * time.Second, 1, time.Hour, 200 * time.Second, 200 * time.Second},
		"Retry-After beyond the token": {Transient, 24 * time.Hour, 1, time.Hour, 30 * time.Minute, 30 * time.Minute},
		"Retry-After without a token":  {Transient, 24 * time.Hour, 1, 0, 2 * time.Minute, 2 * time.Minute},
	} {
		for range 200 {
			f := &Fault{Kind: c.kind, RetryAfter: c.after, Err: errors.New("x")}
			if got := askWait(f, c.n, c.remaining); got < c.least || got > c.most {
				t.Errorf("%s: %v, want %v to %v", name, got, c.least, c.most)
				break
			}
		}
	}
}

func TestWaitsAfterFailedWritesDoubleTo30Seconds(t *testing.T) {
	want := []time.Duration{1, 2, 4, 8, 16, 30, 30}
	for i, w := range want {
		if got := writeWait(i + 1); got != w*time.Second {
			t.Errorf("failure %d: %v", i+1, got)
		}
	}
}

func TestOnlyAUsableTokenIsAdmitted(t *testing.T) {
	text := func(s string) Token { return Token{Secret: NewSecret(s), Issued: noon, Expires: noon.Add(time.Hour)} }
	for name, c := range map[string]struct {
		t    Token
		good bool
	}{
		"a JWT":             {text("aa.bb.cc"), true},
		"opaque":            {text("Abc-._~+/9=="), true},
		"no expiry known":   {Token{Secret: NewSecret("x"), Issued: noon}, true},
		"ten years":         {lasting(10 * 365 * 24 * time.Hour), true},
		"empty":             {text(""), false},
		"two lines":         {text("aa\nbb"), false},
		"trailing newline":  {text("aa\n"), false},
		"blank":             {text("Bearer aa"), false},
		"NUL":               {text("a\x00"), false},
		"an error page":     {text("<html>"), false},
		"a quoted one":      {text(`"aa"`), false},
		"an equals sign in": {text("a=b"), true},
		"a quote in":        {text(`a"b`), false},
		"the longest":       {text(strings.Repeat("a", 16382)), true},
		"too long":          {text(strings.Repeat("a", 16383)), false},
		"milliseconds":      {Token{Secret: NewSecret("x"), Issued: noon, Expires: noon.AddDate(50_000, 0, 0)}, false},
		"nearly expired":    {lasting(9 * time.Second), false},
		"expired":           {lasting(-time.Hour), false},
	} {
		if err := admit(c.t, noon); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneThatExpiresSoonerDoesNotReplaceAGoodOne(t *testing.T) {
	for name, c := range map[string]struct {
		fresh, inPlace Token
		want           bool
	}{
		"sooner":                  {lasting(time.Minute), lasting(time.Hour), true},
		"later":                   {lasting(2 * time.Hour), lasting(time.Hour), false},
		"the same":                {lasting(time.Hour), lasting(time.Hour), false},
		"none in place":           {lasting(time.Minute), Token{}, false},
		"the one in place is old": {lasting(time.Minute), lasting(-time.Minute), false},
		"fresh one is unknown":    {Token{Secret: NewSecret("x")}, lasting(time.Hour), false},
		"one in place is unknown": {lasting(time.Hour), Token{Secret: NewSecret("x")}, false},
	} {
		if got := sooner(c.fresh, c.inPlace, noon); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestWhatTheAgentWouldNotInstallIsNotIssued(t *testing.T) {
	refused := errors.New("not as asked")
	for name, c := range map[string]struct {
		r    Renewer
		want error // nil: any
	}{
		"not accepted":     {Renewer{Source: &fakeSource{life: time.Hour}, Accept: func(Token) error { return refused }}, refused},
		"about to expire":  {Renewer{Source: &fakeSource{life: time.Second}}, nil},
		"the source fails": {Renewer{Source: &fakeSource{fail: func(time.Time) error { return refused }}}, refused},
	} {
		got, err := c.r.Issue(t.Context())
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !got.IsZero() {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := (Renewer{Source: &fakeSource{life: time.Hour}}).Issue(t.Context()); err != nil {
		t.Error(err)
	}
}
