package tokendir

import (
	"fmt"
	"regexp"
	"strconv"
)

// A Version is that of an HTCondor, as 25.13.2. The zero Version is one that is
// not known.
type Version struct{ Major, Minor, Patch int }

// The versions from which on HTCondor has the rules of today. 23.9.6 and 25.13.2 were
// tried; where the version between them that changed a rule is not known, 25.0 counts.
var (
	version25   = Version{25, 0, 0}
	version2561 = Version{25, 6, 1} // its manual says since when a jti is needed
)

var versionText = regexp.MustCompile(`^(?:\$CondorVersion: )?(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?(?: .*)?$`)

// ParseVersion reads a version such as "25.13" or "23.9.6", or the first line
// that condor_version prints.
func ParseVersion(text string) (Version, error) {
	found := versionText.FindStringSubmatch(text)
	if found == nil {
		return Version{}, fmt.Errorf("%.40q is not a version of HTCondor; write it as 25.13 or 23.9.6", text)
	}
	number := func(i int) int { n, _ := strconv.Atoi(found[i]); return n }
	v := Version{number(1), number(2), number(3)}
	if v == (Version{}) {
		return Version{}, fmt.Errorf("there is no HTCondor %s; write a version such as 25.13 or 23.9.6", text)
	}
	return v, nil
}

// String is the version as HTCondor writes it, or "of unknown version".
func (v Version) String() string {
	if v == (Version{}) {
		return "of unknown version"
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// before reports whether v is known and older than w.
func (v Version) before(w Version) bool {
	switch {
	case v == (Version{}):
		return false
	case v.Major != w.Major:
		return v.Major < w.Major
	case v.Minor != w.Minor:
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// within reports whether a rule that holds from one version on, and before another, may
// hold for v. For an unknown version it may. A zero bound is no bound.
func (v Version) within(from, until Version) bool {
	return !v.before(from) && (v == Version{} || until == Version{} || v.before(until))
}
