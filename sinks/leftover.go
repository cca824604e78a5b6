package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// Orphan is the sink of a file that was put by a definition which is no more,
// to look at it and to remove it; nil when the record's Mark is none of ours.
func Orphan(r agent.Record) agent.Sink {
	var mark safefile.Record
	if json.Unmarshal(r.Mark, &mark) != nil || !filepath.IsAbs(r.Path) || safefile.CheckName(filepath.Base(r.Path)) != "" {
		return nil
	}
	owner := safefile.Self()
	if mark.UID != owner.UID {
		owner = safefile.User{UID: mark.UID, GID: mark.GID}
	}
	path := filepath.Clean(r.Path)
	target := safefile.Target{Path: path, Owner: owner, Group: mark.GID, Mode: mark.Mode}
	return &file{path: path, safe: safefile.New(target), format: formats["token"]}
}

// Sweep removes what killed agents have left of their writes to the file sinks
// among all, and returns the paths of the files that it removed. It may run
// while the sinks are in use.
func Sweep(ctx context.Context, all []agent.Sink) (removed []string, err error) {
	var faults []error
	for target, names := range folders(all) {
		ours := func(name string) bool { return names[name] }
		gone, err := safefile.New(*target).Sweep(ctx, ours)
		faults = append(faults, err)
		for _, name := range gone {
			removed = append(removed, filepath.Join(filepath.Dir(target.Path), name))
		}
	}
	return removed, errors.Join(faults...)
}

// folders are the folders of the file sinks, once for each owner of files in
// them, each named by one of its targets, with the names of all of those.
func folders(all []agent.Sink) map[*safefile.Target]map[string]bool {
	type folder struct {
		path  string
		owner int
	}
	first := map[folder]*safefile.Target{}
	names := map[*safefile.Target]map[string]bool{}
	for _, s := range all {
		f, ok := s.(*file)
		if !ok {
			continue
		}
		target := f.safe.Target()
		in := folder{filepath.Dir(target.Path), target.Owner.UID}
		if first[in] == nil {
			first[in] = &target
			names[&target] = map[string]bool{}
		}
		names[first[in]][filepath.Base(target.Path)] = true
	}
	return names
}
