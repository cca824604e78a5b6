package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"time"
)

// units are those of durations, the largest first.
var units = []struct {
	name string
	size time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

var durationForm = regexp.MustCompile(`^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$`)

// ParseDuration reads whole days, hours, minutes and seconds, in this order and
// each at most once: "90s", "1h30m", "2d12h". A day has 24 hours.
func ParseDuration(text string) (time.Duration, error) {
	parts := durationForm.FindStringSubmatch(text)
	if text == "" || parts == nil {
		if _, err := strconv.ParseFloat(text, 64); err == nil && text[0] != '-' {
			return 0, fmt.Errorf("the unit is missing; %q would be seconds, %q minutes", text+"s", text+"m")
		}
		return 0, errors.New(`it is made of whole days, hours, minutes and seconds in this order: "90s", "1h30m", "2d12h"`)
	}
	var sum time.Duration
	for i, unit := range units {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil || n > int64((math.MaxInt64-sum)/unit.size) {
			return 0, errors.New("it is longer than 292 years")
		}
		sum += time.Duration(n) * unit.size
	}
	return sum, nil
}

// Spoken is a duration as people say it, by its two largest units: "2d4h", "57m3s", "0s".
// ParseDuration reads it.
func Spoken(d time.Duration) (text string) {
	rest, shown := d.Abs().Round(time.Second), 0
	for _, unit := range units {
		n := rest / unit.size
		rest %= unit.size
		if n > 0 {
			text += fmt.Sprintf("%d%s", n, unit.name)
		}
		if text != "" {
			shown++
		}
		if shown == 2 {
			return text
		}
	}
	return cmp.Or(text, "0s")
}

var modeForm = regexp.MustCompile(`^0?[0-7]{3}$`)

// parseMode reads the permission bits of a file as three octal digits, with or
// without a zero before them: "0600", "640".
func parseMode(text string) (fs.FileMode, error) {
	if !modeForm.MatchString(text) {
		return 0, errors.New(`it is three octal digits, with or without a zero before them: "0600", "0640"`)
	}
	bits, err := strconv.ParseUint(text, 8, 32)
	return fs.FileMode(bits), err
}
