package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
)

// A lifetime is the value of --lifetime: seconds, as in Pelican, or a duration as in a
// configuration.
type lifetime time.Duration

func (l *lifetime) String() string { return config.Spoken(time.Duration(*l)) }
func (l *lifetime) Type() string   { return "duration" }

func (l *lifetime) Set(text string) error {
	d, err := config.ParseDuration(text)
	if seconds, notSeconds := strconv.ParseInt(text, 10, 64); notSeconds == nil {
		if seconds > math.MaxInt64/int64(time.Second) {
			return fmt.Errorf("too many seconds")
		}
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil {
		return err
	}
	if d < time.Second {
		return fmt.Errorf("the shortest lifetime is 1s")
	}
	*l = lifetime(d)
	return nil
}

// profileNamed is the profile of that name, by Pelican's names too; "" for none.
func profileNamed(name string) (string, error) {
	switch {
	case name == "none":
		return "", nil
	case name == "scitokens2":
		return "scitokens", nil
	case slices.Contains(profile.Names(), name):
		return name, nil
	}
	return "", usage("--profile %s: unknown; there are %s, scitokens2 and none", name, strings.Join(profile.Names(), ", "))
}

// furtherClaims are those of --claim and --claim-json. As in Pelican, --claim sets the
// flag of a claim that has one, and repeated claims are joined.
func (f *tokenFlags) furtherClaims(profile string) (map[string]any, error) {
	further := map[string]any{}
	for _, c := range f.claims {
		name, value, found := strings.Cut(c, "=")
		if !found || name == "" {
			return nil, usage("--claim %s: write CLAIM=VALUE; a comma begins another claim, so use --claim-json for a value that has one", c)
		}
		switch name {
		case "iss":
			f.issuer = value
		case "sub":
			f.subject = value
		case "aud":
			f.audience = append(f.audience, value)
		case "scope":
			f.scope = append(f.scope, value)
		default:
			addFurther(further, name, value, profile)
		}
	}
	return further, f.addTyped(further)
}

func (f *tokenFlags) addTyped(further map[string]any) error {
	for _, c := range f.claimsJSON {
		name, text, found := strings.Cut(c, "=")
		if !found || name == "" {
			return usage("--claim-json %s: write CLAIM=JSON", c)
		}
		value, err := typed(text)
		if err != nil {
			return usage("--claim-json %s: %v", name, err)
		}
		if _, twice := further[name]; twice {
			return usage("--claim-json %s: the claim is given twice", name)
		}
		further[name] = value
	}
	return nil
}

// typed reads one JSON value with its numbers exact, as agent.Request wants it.
func typed(text string) (any, error) {
	value, err := profile.DecodeValue([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w; write one JSON value, a string with double quotes inside those of the shell", err)
	}
	return exact(value)
}

// exact replaces the numbers in value by int64 where they are whole, else float64.
func exact(value any) (any, error) {
	var err error
	switch v := value.(type) {
	case nil:
		return nil, fmt.Errorf("null has no meaning here; leave the claim out")
	case json.Number:
		return exactNumber(v)
	case []any:
		for i := range v {
			if v[i], err = exact(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = exact(v[name]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// exactNumber is the number as int64 where it is whole, else float64. It refuses a
// number that would look different in the token.
func exactNumber(v json.Number) (any, error) {
	if n, err := v.Int64(); err == nil {
		return n, nil
	}
	f, err := v.Float64()
	if err == nil {
		wanted, ok := new(big.Rat).SetString(v.String())
		signed, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
		if ok && wanted.Cmp(signed) == 0 {
			return f, nil
		}
	}
	return nil, fmt.Errorf("the number %s does not fit: a whole number has 64 bits, any other about 15 digits and at most 1.7e308; write it as a string", v)
}
