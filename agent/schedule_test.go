package agent

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func lasting(life time.Duration) Token {
	return Token{Secret: NewSecret("x"), Issued: noon, Expires: noon.Add(life)}
}

func TestScheduleSaysWhenTheNextTokenIsDue(t *testing.T) {
	cron := func(text string) Schedule {
		c, err := ParseCron(text)
		if err != nil {
			t.Fatal(err)
		}
		return Schedule{Cron: c}
	}
	zone := func(text string) Schedule { return cron("CRON_TZ=UTC " + text) }
	for name, c := range map[string]struct {
		s    Schedule
		life time.Duration
		want time.Duration // after it was issued
	}{
		"half of an hour":                            {Schedule{}, time.Hour, 30 * time.Minute},
		"half of six hours":                          {Schedule{}, 6 * time.Hour, 3 * time.Hour},
		"two thirds beyond six hours":                {Schedule{}, 24 * time.Hour, 16 * time.Hour},
		"at":                                         {Schedule{At: 0.8}, time.Hour, 48 * time.Minute},
		"jitter is earlier by at most a tenth":       {Schedule{Jitter: 0.5}, time.Hour, 28*time.Minute + 30*time.Second},
		"min_remaining advances":                     {Schedule{MinRemaining: 40 * time.Minute}, time.Hour, 20 * time.Minute},
		"min_remaining never postpones":              {Schedule{MinRemaining: 10 * time.Minute}, time.Hour, 30 * time.Minute},
		"of at and min_remaining the earlier":        {Schedule{At: 0.2, MinRemaining: 40 * time.Minute}, time.Hour, 12 * time.Minute},
		"min_remaining with jitter":                  {Schedule{MinRemaining: 40 * time.Minute, Jitter: 0.5}, time.Hour, 19 * time.Minute},
		"min_remaining of the whole life is ignored": {Schedule{MinRemaining: time.Hour}, time.Hour, 30 * time.Minute},
		"never within 5 % of the life":               {Schedule{MinRemaining: 59 * time.Minute}, time.Hour, 3 * time.Minute},
		"never within 10 s":                          {Schedule{}, 12 * time.Second, 10 * time.Second},
		"a life that is no life":                     {Schedule{}, -time.Hour, 10 * time.Second},
		"cron is a trigger more":                     {zone("20 * * * *"), time.Hour, 20 * time.Minute},
		"cron is no postponement":                    {zone("50 * * * *"), time.Hour, 30 * time.Minute},
		"cron respects the floor":                    {zone("1 * * * *"), time.Hour, 30 * time.Minute},
		"cron that is due at this instant waits":     {zone("0 12 * * *"), time.Hour, 30 * time.Minute},
	} {
		if got := c.s.Next(lasting(c.life)).Sub(noon); got != c.want {
			t.Errorf("%s: due after %v, want %v", name, got, c.want)
		}
	}
}

func TestScheduleRereadsATokenOfUnknownExpiryEveryMinute(t *testing.T) {
	if got := (Schedule{}).Next(Token{Issued: noon}).Sub(noon); got != time.Minute {
		t.Errorf("due after %v", got)
	}
}

func TestJitterIsSpreadAndStaysTheSame(t *testing.T) {
	sum := 0.0
	const n = 10_000
	for i := range n {
		j := Jitter("host", string(rune('a'+i%26))+time.Duration(i).String())
		if j < 0 || j >= 1 {
			t.Fatalf("jitter %v", j)
		}
		sum += j
	}
	if mean := sum / n; math.Abs(mean-0.5) > 0.02 {
		t.Errorf("mean %v", mean)
	}
	if Jitter("host", "pilot") != Jitter("host", "pilot") {
		t.Error("two values for one token")
	}
	if Jitter("host", "pilot") == Jitter("other", "pilot") {
		t.Error("one value on two hosts")
	}
}

func TestParseCronRefusesWhatTheLibraryLetsThrough(t *testing.T) {
	for _, text := range []string{
		"TZ=UTC", "CRON_TZ=UTC", "CRON_TZ=Mars/Base * * * * *", "", "* * * *", "* * * * * *", "@every 1s", "@daily",
		"0 0 30 2 *", "61 * * * *", "a b c d e", "*/0 * * * *",
	} {
		if _, err := ParseCron(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	for _, text := range []string{"* * * * *", "*/5 8-18 * * 1-5", "CRON_TZ=Europe/Berlin 0 6 * * *", "0 0 29 2 *"} {
		if _, err := ParseCron(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "TZ=UTC", "CRON_TZ=UTC 1-59/7 */2 1,15 * 0", "0 0 30 2 *", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseCron(text)
		if err != nil {
			return
		}
		Schedule{Cron: s}.Next(lasting(time.Hour))
	})
}

func TestATokenMaySayWhenItsSuccessorMustBeAskedFor(t *testing.T) {
	for askBy, want := range map[time.Duration]time.Duration{0: 30 * time.Minute, 2 * time.Hour: 30 * time.Minute, 20 * time.Minute: 20 * time.Minute, time.Minute: time.Minute, time.Second: 10 * time.Second, -time.Hour: 10 * time.Second} {
		token := lasting(time.Hour)
		if askBy != 0 {
			token.AskBy = noon.Add(askBy)
		}
		if got := (Schedule{}).Next(token).Sub(noon); got != want {
			t.Errorf("by %v: due after %v, want %v", askBy, got, want)
		}
	}
}

func TestATokenIsAskedForInTimeAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &asksBy{fakeSource: fakeSource{life: 10 * time.Hour}, by: time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer {
			r := onDisk(disk, &source.fakeSource, "a")
			r[0].Source = source
			return r
		}
		runFor(t, 30*time.Minute, records, set()...)
		runFor(t, 40*time.Minute, records, set()...)
		if n := source.asked(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

// An asksBy is a source whose tokens want their successor asked for after some time.
type asksBy struct {
	fakeSource
	by time.Duration
}

func (s *asksBy) Issue(ctx context.Context, req Request) (Token, error) {
	t, err := s.fakeSource.Issue(ctx, req)
	t.AskBy = t.Issued.Add(s.by)
	return t, err
}
