package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tokenagent/tokenagent/sinks/condor"
)

// doctorFlags say what doctor looks at, and as whom.
type doctorFlags struct {
	as      string // a user; "": see readers
	version string // of HTCondor; "": as condor_version says
	json    bool

	pool               string // a collector to ask; "": none
	kind, name, method string // see condor.Ping

	bearer bool // which bearer token clients find

	mapfile, token string // a map file, and the file of the SciToken that it maps; "": none
}

func (f *doctorFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.as, "as", "", "the user whose reading is replayed, or who asks, by name or number")
	flags.StringVar(&f.version, "condor-version", "", "the `version` of HTCondor, as 25.13 (default: what condor_version says)")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.StringVar(&f.pool, "pool", "", "ask the pool of this collector, `HOST` or HOST:PORT, what it allows")
	flags.StringVar(&f.kind, "type", "COLLECTOR", "with --pool, the `type` of server to ask: COLLECTOR, SCHEDD, STARTD, NEGOTIATOR or MASTER")
	flags.StringVar(&f.name, "name", "", "with --pool, the `name` of the server, as condor_status shows it")
	flags.StringVar(&f.method, "method", "IDTOKENS", "with --pool, the `method` that counts: IDTOKENS or SCITOKENS")
	flags.BoolVar(&f.bearer, "bearer", false, "say which bearer token xrdcp, HTCondor and pelican find, and why others are passed over")
	flags.StringVar(&f.mapfile, "mapfile", "", "say which line of this map `file` of HTCondor's the SciToken of --token hits")
	flags.StringVar(&f.token, "token", "", "with --mapfile, the `file` of the token; - for standard input")
}

// onlyWith are the flags that mean something only with another one.
var onlyWith = map[string]string{"type": "pool", "name": "pool", "method": "pool", "token": "mapfile", "mapfile": "token"}

// fit is the error of flags that do not go together.
func (f *doctorFlags) fit(flags *pflag.FlagSet) error {
	for _, name := range slices.Sorted(maps.Keys(onlyWith)) {
		if with := onlyWith[name]; flags.Changed(name) && !flags.Changed(with) {
			return usage("--%s goes only with --%s", name, with)
		}
	}
	modes := 0
	for _, name := range []string{"pool", "bearer", "mapfile"} {
		if flags.Changed(name) {
			modes++
		}
	}
	if modes > 1 {
		return usage("use only one of --pool, --bearer and --mapfile at a time")
	}
	if (f.bearer || f.mapfile != "") && flags.NArg() > 0 {
		return usage("--bearer and --mapfile take no DIR")
	}
	if !flags.Changed("pool") {
		return nil
	}
	f.kind, f.method = strings.ToUpper(f.kind), strings.ToUpper(f.method)
	if f.method != "IDTOKENS" && f.method != "SCITOKENS" {
		return usage("--method %s: it is IDTOKENS or SCITOKENS", f.method)
	}
	if f.kind == "" || strings.Trim(f.kind, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" || strings.HasPrefix(f.name, "-") {
		return usage("--type and --name must be those of a server, as condor_status shows them")
	}
	if err := condor.CheckAddress(f.pool); err != nil {
		return usage("--pool %q: %w", f.pool, err)
	}
	return nil
}
