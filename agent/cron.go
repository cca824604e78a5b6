package agent

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tokenagent/tokenagent/agent/queue"
)

const (
	cronFields      = cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow
	leastCronPeriod = time.Minute
	everyHour       = 1<<24 - 1
)

// ParseCron reads five fields (minute, hour, day of month, month, day of week),
// optionally behind CRON_TZ=ZONE, in local time. A schedule that never fires,
// or fires twice within a minute, is an error.
//
// A time in the hour that clocks skip fires right after that hour. A time in the hour that
// clocks repeat fires once, unless the schedule names every hour.
func ParseCron(text string) (s cron.Schedule, err error) {
	defer func() { // the parser panics on "TZ=UTC" without a blank behind it
		if recover() != nil {
			s, err = nil, errors.New("five fields are wanted after the time zone")
		}
	}()
	parsed, err := cron.NewParser(cronFields).Parse(withSunday(text))
	if err != nil {
		return nil, err
	}
	spec := *parsed.(*cron.SpecSchedule)
	zone := spec.Location
	spec.Location = time.Local // that of the times that Next is given
	s = inZone{spec, zone}
	first := s.Next(time.Now())
	if first.IsZero() {
		return nil, errors.New("there is no such day within the next five years")
	}
	if second := s.Next(first); !second.IsZero() && second.Sub(first) < leastCronPeriod {
		return nil, errors.New("it fires more than once a minute")
	}
	return s, nil
}

// withSunday replaces 7, which crontab(5) takes for Sunday, by the 0 of the parser.
func withSunday(text string) string {
	at := strings.LastIndexAny(text, " \t") + 1
	days := strings.Split(text[at:], ",")
	for i, day := range days {
		if day == "7" {
			days[i] = "0"
		} else if from, ok := strings.CutSuffix(day, "-7"); ok && from != "7" {
			days[i] = from + "-6,0"
		}
	}
	return text[:at] + strings.Join(days, ",")
}

// inZone is a schedule by the clocks of a zone. The library's own Next drops the times that
// clocks skip, so it is only used within periods of one offset.
type inZone struct {
	spec cron.SpecSchedule
	zone *time.Location
}

// Next is when the schedule fires first after the time t; zero: not within five years.
func (s inZone) Next(t time.Time) time.Time {
	in, after := t, t
	for last := t.AddDate(5, 0, 0); in.Before(last); {
		p := periodOf(in.In(s.zone))
		if s.spec.Hour&everyHour != everyHour {
			after = queue.Later(after, p.repeats.Add(-time.Nanosecond))
		}
		next := s.spec.Next(after.In(p.clock))
		switch {
		case next.IsZero():
			return next
		case p.end.IsZero() || next.Before(p.end):
			return next.In(t.Location())
		case next.Before(p.end.Add(p.skip)):
			return p.end.In(t.Location())
		}
		in, after = p.end, p.end.Add(-time.Nanosecond)
	}
	return time.Time{}
}

// A period is a time during which the clocks of a zone have one offset.
type period struct {
	clock   *time.Location
	repeats time.Time     // until then the clocks repeat an hour
	end     time.Time     // zero: there is none
	skip    time.Duration // by which they are set forward at the end; not positive where they are not
}

func periodOf(t time.Time) (p period) {
	start, end := t.ZoneBounds()
	name, offset := t.Zone()
	p.clock, p.end = time.FixedZone(name, offset), end
	p.repeats = start
	if !start.IsZero() {
		p.repeats = start.Add(max(0, -change(start)))
	}
	if !end.IsZero() {
		p.skip = change(end)
	}
	return p
}

// change is by how much the clocks are set forward at the time t.
func change(t time.Time) time.Duration {
	_, before := t.Add(-time.Nanosecond).Zone()
	_, after := t.Zone()
	return time.Duration(after-before) * time.Second
}
