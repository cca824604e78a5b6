package config

import (
	"io/fs"
	"testing"
	"time"
)

func TestWhatIsNotKnownOfAMachineIsAnErrorAndNoPanic(t *testing.T) {
	m := Environment{}.complete().Machine
	for name, ask := range map[string]func() (string, error){
		"Hostname": m.Hostname, "FQDN": m.FQDN,
		"LookPath": func() (string, error) { return m.LookPath("true") },
		"Knob":     func() (string, error) { return m.Knob("TRUST_DOMAIN") },
		"CEKnob":   func() (string, error) { return m.CEKnob("TRUST_DOMAIN") },
	} {
		if text, err := ask(); text != "" || err == nil {
			t.Errorf("%s: got %q, %v", name, text, err)
		}
	}
	if got := m.Getenv("HOME"); got != "" {
		t.Errorf("HOME is %q", got)
	}
}

func TestAFaultOfSomeInstancesSaysOfWhich(t *testing.T) {
	a, b := &instance{name: "t[\"a\"]", total: 2}, &instance{name: "t[\"b\"]", total: 2}
	for want, all := range map[string][]finding{
		"x":                             {{detail: "x", instance: a}, {detail: "x", instance: b}},
		"x (for t[\"a\"])":              {{detail: "x", instance: a}},
		"x (for t[\"a\"] and one more)": {{detail: "x", instance: a}, {detail: "y", instance: b}},
	} {
		if got := merge(all); len(got) != 1 || got[0].detail != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s":      90 * time.Second,
		"1h30m":    90 * time.Minute,
		"2d12h":    60 * time.Hour,
		"1d1h1m1s": 25*time.Hour + time.Minute + time.Second,
		"0s":       0,
		"106751d":  106751 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	const form = `it is made of whole days, hours, minutes and seconds in this order: "90s", "1h30m", "2d12h"`
	const long = "it is longer than 292 years"
	for text, want := range map[string]string{
		"":                                  form,
		"-5m":                               form,
		"5 m":                               form,
		"1.5h":                              form,
		"30m1h":                             form,
		"5ms":                               form,
		"1w":                                form,
		"１h":                                form,
		"3600":                              `the unit is missing; "3600s" would be seconds, "3600m" minutes`,
		"106752d":                           long,
		"99999999999999999999d":             long,
		"106751d9999999h":                   long,
		"9223372036s9223372036s9223372036s": form,
	} {
		if got, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]fs.FileMode{"0600": 0o600, "640": 0o640, "0000": 0, "0777": 0o777} {
		if got, err := parseMode(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "60", "0o600", "0888", "4755", "rw-------", "-600", "06000"} {
		if got, err := parseMode(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestSpokenHasTwoUnitsAtMost(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                     "0s",
		400 * time.Millisecond:                "0s",
		59*time.Second + 600*time.Millisecond: "1m",
		57*time.Minute + 3*time.Second:        "57m3s",
		time.Hour:                             "1h",
		time.Hour + 30*time.Second:            "1h",
		52*time.Hour + 59*time.Minute:         "2d4h",
		-3 * time.Minute:                      "3m",
	} {
		if got := Spoken(d); got != want {
			t.Errorf("Spoken(%v) = %s, want %s", d, got, want)
		} else if _, err := ParseDuration(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}
