package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// Leftover is the sink of a file whose definition was removed, to check it and to remove
// it; the zero Target if the record's Mark is not one of ours.
func Leftover(r agent.Record) agent.Target {
	var mark safefile.Record
	if json.Unmarshal(r.Mark, &mark) != nil || !filepath.IsAbs(r.Name) || safefile.CheckName(filepath.Base(r.Name)) != "" {
		return agent.Target{}
	}
	owner := host.Self()
	if mark.UID != owner.UID {
		owner = host.Identity{UID: mark.UID, GID: mark.GID}
	}
	target := safefile.Target{Path: filepath.Clean(r.Name), Owner: owner, Group: mark.GID, Mode: mark.Mode}
	return (&file{safe: safefile.New(target), format: formats["token"]}).target()
}

const (
	sweepPatience = 10 * time.Second // for one folder
	sweptAtOnce   = 16               // folders
)

// Sweep removes the temporary files that killed agents have left in the folders of the
// file sinks among all, and returns their paths. With alone, it removes those of the sinks
// at once: no other process writes them, since this one holds the lock of the state folder.
// It removes all others when they are older than 10 min. The sinks may be in use meanwhile.
// A folder that hangs delays no other; it is swept again only after the first try has
// ended.
func Sweep(ctx context.Context, all []agent.Target, alone bool) (removed []string, err error) {
	folders := foldersOf(all, alone)
	results := make([]swept, len(folders))
	room := make(chan struct{}, sweptAtOnce)
	var running sync.WaitGroup
	for i, f := range folders {
		room <- struct{}{} // at the latest after sweepPatience
		running.Go(func() {
			results[i] = f.sweepWithin(ctx, sweepPatience)
			<-room
		})
	}
	running.Wait()
	var faults []error
	for _, r := range results {
		removed = append(removed, r.removed...)
		faults = append(faults, r.err)
	}
	return removed, errors.Join(faults...)
}

// A folder holds the files of some sinks, all for one owner.
type folder struct {
	first *file           // one of the sinks
	alone map[string]bool // the names that this process alone writes
}

// foldersOf are the folders of the file sinks among all, in the order of those.
func foldersOf(all []agent.Target, alone bool) (folders []folder) {
	type place struct {
		path  string
		owner int
	}
	known := map[place]folder{}
	for _, t := range all {
		f, ok := t.Sink.(*file)
		if !ok {
			continue
		}
		in := place{filepath.Dir(f.path()), f.safe.Target().Owner.UID}
		if _, ok := known[in]; !ok {
			known[in] = folder{f, map[string]bool{}}
			folders = append(folders, known[in])
		}
		known[in].alone[filepath.Base(f.path())] = alone
	}
	return folders
}

// swept is the result for one folder.
type swept struct {
	removed []string // paths
	err     error
}

// sweepWithin sweeps the folder, and returns after patience at the latest. The sink
// remembers a sweep that hangs.
func (f folder) sweepWithin(ctx context.Context, patience time.Duration) swept {
	path := filepath.Dir(f.first.path())
	if !f.first.sweeping.CompareAndSwap(false, true) {
		return swept{err: fmt.Errorf("%s: it still does not answer", path)}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, returned := host.Await(ctx, func() swept {
		defer f.first.sweeping.Store(false)
		return f.sweep(ctx)
	})
	if !returned {
		return swept{err: fmt.Errorf("%s: it does not answer: %w", path, ctx.Err())}
	}
	return s
}

func (f folder) sweep(ctx context.Context) swept {
	target := f.first.safe.Target()
	names, err := safefile.New(target).Sweep(ctx, func(name string) bool { return f.alone[name] })
	for i, name := range names {
		names[i] = filepath.Join(filepath.Dir(target.Path), name)
	}
	return swept{names, err}
}
