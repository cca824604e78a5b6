package tokendir

import (
	"fmt"
	"io/fs"
)

// A File is what somebody wants to lie in a token directory.
type File struct {
	Name string
	UID  int // of its owner
	Mode fs.FileMode
	Bare bool // it holds the token and nothing else
}

// A Problem is a reason why HTCondor would not use a File.
type Problem struct {
	About string // "path", "owner", "mode" or "format"
	Text  string
}

// Denied is the first directory, from this one upwards, that its reader surely cannot
// list or pass, so HTCondor finds nothing; "" for none, or if that is not known.
func (d Directory) Denied() string {
	at, _ := deniedAt(d.Path, d.Reader.User)
	return at
}

// Problems are the reasons why HTCondor would not use the file.
func (d Directory) Problems(f File) []Problem {
	var problems []Problem
	add := func(about, format string, args ...any) {
		problems = append(problems, Problem{about, fmt.Sprintf(format, args...)})
	}
	if d.Reader.Exclude.Excludes(f.Name) {
		add("path", "HTCondor passes over files of the name %q in %s; it reads those that do not match %s", f.Name, d.Path, d.Reader.Exclude)
	}
	if subsystem, generated := Subsystem(f.Name); generated {
		add("path", "HTCondor keeps the name %q for the token that its %s makes for itself; take another", f.Name, subsystem)
	}
	if f.UID != d.Reader.UID {
		add("owner", "HTCondor reads files in %s only when they belong to %s; this one would belong to %s", d.Path, d.Reader, owner(f.UID))
	}
	if f.Mode&0o077 != 0 {
		add("mode", "HTCondor reads files in %s only if group and others have no permissions; \"0600\" is usual", d.Path)
	}
	if !f.Bare {
		add("format", "HTCondor wants the bare token in the files of %s; that is the format \"token\"", d.Path)
	}
	return problems
}
