package agent

import (
	"testing"
	"time"
)

// Clocks that are set forward skip an hour, and those that are set back repeat one.
func TestCronWhereClocksAreChanged(t *testing.T) {
	for name, c := range map[string]struct {
		cron, after string
		want        []string
	}{
		"skipped":                             {"CRON_TZ=Europe/Zurich 30 2 * * *", "2027-03-27T12:00:00+01:00", []string{"2027-03-28T03:00:00+02:00", "2027-03-29T02:30:00+02:00"}},
		"skipped, of one day only":            {"CRON_TZ=Europe/Zurich 30 2 28 3 *", "2027-03-27T12:00:00+01:00", []string{"2027-03-28T03:00:00+02:00"}},
		"skipped, asked just before":          {"CRON_TZ=Europe/Zurich 30 2 * * *", "2027-03-28T01:59:59.9999+01:00", []string{"2027-03-28T03:00:00+02:00"}},
		"skipped, asked when it has come":     {"CRON_TZ=Europe/Zurich 30 2 * * *", "2027-03-28T03:00:00+02:00", []string{"2027-03-29T02:30:00+02:00"}},
		"several are skipped":                 {"CRON_TZ=Europe/Zurich 0,20,40 2 * * *", "2027-03-28T00:00:00+01:00", []string{"2027-03-28T03:00:00+02:00", "2027-03-29T02:00:00+02:00"}},
		"skipped to where another one is":     {"CRON_TZ=Europe/Zurich 0 2,3 * * *", "2027-03-28T00:00:00+01:00", []string{"2027-03-28T03:00:00+02:00", "2027-03-29T02:00:00+02:00"}},
		"the first moment that is skipped":    {"CRON_TZ=Europe/Zurich 0 2 * * *", "2027-03-28T00:00:00+01:00", []string{"2027-03-28T03:00:00+02:00"}},
		"the last moment before":              {"CRON_TZ=Europe/Zurich 59 1 * * *", "2027-03-28T00:00:00+01:00", []string{"2027-03-28T01:59:00+01:00", "2027-03-29T01:59:00+02:00"}},
		"the first moment after":              {"CRON_TZ=Europe/Zurich 0 3 * * *", "2027-03-28T00:00:00+01:00", []string{"2027-03-28T03:00:00+02:00", "2027-03-29T03:00:00+02:00"}},
		"another day of the week":             {"CRON_TZ=Europe/Zurich 30 2 * * 1", "2027-03-28T00:00:00+01:00", []string{"2027-03-29T02:30:00+02:00"}},
		"New York":                            {"CRON_TZ=America/New_York 15 2 * * *", "2027-03-13T12:00:00-05:00", []string{"2027-03-14T03:00:00-04:00"}},
		"half an hour":                        {"CRON_TZ=Australia/Lord_Howe 10 2 * * *", "2026-10-03T12:00:00+10:30", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:10:00+11:00"}},
		"half an hour, what is behind":        {"CRON_TZ=Australia/Lord_Howe 40 2 * * *", "2026-10-03T12:00:00+10:30", []string{"2026-10-04T02:40:00+11:00"}},
		"midnight in Santiago":                {"CRON_TZ=America/Santiago 0 0 * * *", "2026-09-05T12:00:00-04:00", []string{"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"}},
		"midnight in Beirut":                  {"CRON_TZ=Asia/Beirut 30 0 * * *", "2027-03-27T12:00:00+02:00", []string{"2027-03-28T01:00:00+03:00", "2027-03-29T00:30:00+03:00"}},
		"midnight in Cairo":                   {"CRON_TZ=Africa/Cairo 5 0 * * 5", "2027-04-29T12:00:00+02:00", []string{"2027-04-30T01:00:00+03:00", "2027-05-07T00:05:00+03:00"}},
		"a whole day":                         {"CRON_TZ=Pacific/Apia 0 12 30 12 *", "2011-12-29T20:00:00-10:00", []string{"2011-12-31T00:00:00+14:00"}},
		"every hour, skipped":                 {"CRON_TZ=Europe/Zurich 0 * * * *", "2027-03-28T00:30:00+01:00", []string{"2027-03-28T01:00:00+01:00", "2027-03-28T03:00:00+02:00", "2027-03-28T04:00:00+02:00"}},
		"repeated":                            {"CRON_TZ=Europe/Zurich 30 2 * * *", "2027-10-30T12:00:00+02:00", []string{"2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"}},
		"repeated, asked between":             {"CRON_TZ=Europe/Zurich 30 2 * * *", "2027-10-31T02:10:00+01:00", []string{"2027-11-01T02:30:00+01:00"}},
		"repeated, asked at the change":       {"CRON_TZ=Europe/Zurich 0 2 * * *", "2027-10-31T02:59:59+02:00", []string{"2027-11-01T02:00:00+01:00"}},
		"repeated, of several hours":          {"CRON_TZ=Europe/Zurich 0 1-3 * * *", "2027-10-31T00:30:00+02:00", []string{"2027-10-31T01:00:00+02:00", "2027-10-31T02:00:00+02:00", "2027-10-31T03:00:00+01:00"}},
		"repeated, half an hour":              {"CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2027-04-03T12:00:00+11:00", []string{"2027-04-04T01:45:00+11:00", "2027-04-05T01:45:00+10:30"}},
		"repeated midnight":                   {"CRON_TZ=America/Santiago 30 23 * * *", "2027-04-03T12:00:00-03:00", []string{"2027-04-03T23:30:00-03:00", "2027-04-04T23:30:00-04:00"}},
		"every quarter of an hour, repeated":  {"CRON_TZ=Europe/Zurich */15 * * * *", "2027-10-31T02:40:00+02:00", []string{"2027-10-31T02:45:00+02:00", "2027-10-31T02:00:00+01:00", "2027-10-31T02:15:00+01:00"}},
		"a zone that changes nothing":         {"CRON_TZ=UTC 30 2 * * *", "2027-03-27T12:00:00Z", []string{"2027-03-28T02:30:00Z", "2027-03-29T02:30:00Z"}},
		"Sunday as 7":                         {"CRON_TZ=UTC 0 4 * * 7", "2027-03-27T12:00:00Z", []string{"2027-03-28T04:00:00Z", "2027-04-04T04:00:00Z"}},
		"until Sunday":                        {"CRON_TZ=UTC 0 4 * * 6-7", "2027-03-27T12:00:00Z", []string{"2027-03-28T04:00:00Z", "2027-04-03T04:00:00Z"}},
		"from a named day until Sunday":       {"CRON_TZ=UTC 0 4 * * 2,SAT-7", "2027-03-27T12:00:00Z", []string{"2027-03-28T04:00:00Z", "2027-03-30T04:00:00Z"}},
		"only every fourth year":              {"CRON_TZ=Europe/Zurich 30 2 29 2 *", "2027-03-27T12:00:00+01:00", []string{"2028-02-29T02:30:00+01:00", "2032-02-29T02:30:00+01:00"}},
		"far beyond what the zone's file has": {"CRON_TZ=Europe/Zurich 30 2 * * *", "2060-03-27T12:00:00+01:00", []string{"2060-03-28T03:00:00+02:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseCron(c.cron)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				at = s.Next(at)
				if expected, _ := time.Parse(time.RFC3339, want); !at.Equal(expected) {
					t.Fatalf("it comes at %v, want %s", at.In(expected.Location()), want)
				}
			}
		})
	}
}
