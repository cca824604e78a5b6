package rotation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var day0 = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)

// on is the start of a day, counted from day0.
func on(day float64) time.Time { return day0.Add(time.Duration(day * 24 * float64(time.Hour))) }

func seen(ids ...string) *Sight { return &Sight{IDs: ids, ClockSure: true} }

func TestAdvance(t *testing.T) {
	policy := Policy{RotateAfter: 90 * 24 * time.Hour, PublishAhead: 4 * 24 * time.Hour}
	a := Key{ID: "a", Created: on(0)}
	published := Key{ID: "a", Created: on(0), Seen: on(1)}
	signing := Key{ID: "a", Created: on(0), Seen: on(1), Signing: on(1), Until: on(95)}
	b := Key{ID: "b", Created: on(1), Seen: on(2)}
	retired := signing
	retired.Retired = on(91)
	unsure := &Sight{IDs: []string{"a", "b"}}
	for name, c := range map[string]struct {
		life   Life
		sight  *Sight
		day    float64
		stages []Stage
		need   bool
	}{
		"no key yet":                                     {Life{}, seen(), 0, nil, true},
		"a first key waits to be seen":                   {Life{Keys: []Key{a}}, seen(), 9, []Stage{Created}, false},
		"a fetch that failed changes nothing":            {Life{Keys: []Key{a}}, nil, 9, []Stage{Created}, false},
		"the first key signs as soon as it is seen":      {Life{Keys: []Key{a}}, seen("a"), 1, []Stage{Signing}, true},
		"seen once, and gone since":                      {Life{Keys: []Key{published}}, seen(), 2, []Stage{Created}, false},
		"a successor stands ready":                       {Life{Keys: []Key{signing, b}}, seen("a", "b"), 50, []Stage{Signing, Published}, false},
		"the successor takes over":                       {Life{Keys: []Key{signing, b}}, seen("a", "b"), 91, []Stage{Retired, Signing}, true},
		"a successor that is not fetched does not":       {Life{Keys: []Key{signing, b}}, seen("a"), 91, []Stage{Signing, Created}, false},
		"nor while the document cannot be fetched":       {Life{Keys: []Key{signing, b}}, nil, 91, []Stage{Signing, Published}, false},
		"nor while the clock is in doubt":                {Life{Keys: []Key{signing, b}}, unsure, 91, []Stage{Signing, Published}, false},
		"nor before all verifiers have seen it":          {Life{Keys: []Key{signing, {ID: "b", Created: on(89), Seen: on(90)}}}, seen("a", "b"), 93.9, []Stage{Signing, Published}, false},
		"but then":                                       {Life{Keys: []Key{signing, {ID: "b", Created: on(89), Seen: on(90)}}}, seen("a", "b"), 94, []Stage{Retired, Signing}, true},
		"by hand":                                        {Life{Keys: []Key{signing, b}, Asked: on(6)}, seen("a", "b"), 6, []Stage{Retired, Signing}, true},
		"by hand, too soon":                              {Life{Keys: []Key{signing, b}, Asked: on(3)}, seen("a", "b"), 3, []Stage{Signing, Published}, false},
		"by hand, at once":                               {Life{Keys: []Key{signing, b}, Asked: on(3), AtOnce: true}, seen("a", "b"), 3, []Stage{Retired, Signing}, true},
		"the last token of a retired key":                {Life{Keys: []Key{retired, b}}, seen("a", "b"), 98.9, []Stage{Retired, Signing}, true},
		"a retired key goes":                             {Life{Keys: []Key{retired, b}}, seen("a", "b"), 99, []Stage{Signing}, true},
		"it stays while the clock is in doubt":           {Life{Keys: []Key{retired, b}}, unsure, 99, []Stage{Retired, Signing}, true},
		"nothing is remembered of two":                   {Life{Keys: []Key{a, {ID: "b", Created: on(1)}}}, seen("a", "b"), 2, []Stage{Signing, Published}, false},
		"nothing is remembered of three":                 {Life{Keys: []Key{a, {ID: "b", Created: on(1)}, {ID: "c", Created: on(2)}}}, seen("a", "b", "c"), 3, []Stage{Published, Signing, Published}, false},
		"a second unknown key that nobody has published": {Life{Keys: []Key{a, {ID: "b", Created: on(1)}}}, seen("a"), 2, []Stage{Signing, Created}, false},
	} {
		t.Run(name, func(t *testing.T) {
			next, need := policy.Advance(c.life, c.sight, on(c.day))
			var stages []Stage
			for _, k := range next.Keys {
				stages = append(stages, k.Stage())
			}
			if diff := cmp.Diff(c.stages, stages); diff != "" {
				t.Errorf("stages (-want +got):\n%s", diff)
			}
			if need != c.need {
				t.Errorf("a new key is wanted: %v", need)
			}
			if again, _ := policy.Advance(next, c.sight, on(c.day)); !cmp.Equal(next, again) {
				t.Errorf("the same step twice gives something else:\n%s", cmp.Diff(next, again))
			}
		})
	}
}

func TestAfterARevocationTheSuccessorSignsWithoutWaiting(t *testing.T) {
	policy := Policy{PublishAhead: 4 * 24 * time.Hour}
	life := Life{Keys: []Key{{ID: "a", Created: on(0), Seen: on(0), Signing: on(0), Until: on(2)}, {ID: "b", Created: on(0), Seen: on(1)}}}
	life.Keys[0].Revoked = on(1)
	next, need := policy.Advance(life, seen("a", "b"), on(1))
	if next.Keys[0].Stage() != Revoked || next.Keys[1].Stage() != Signing || !need {
		t.Errorf("got %+v, a new key wanted %v", next.Keys, need)
	}
	if next, _ = policy.Advance(next, seen("b"), on(6)); len(next.Keys) != 1 {
		t.Errorf("the revoked key is to be forgotten when its tokens have expired: %+v", next.Keys)
	}
}
