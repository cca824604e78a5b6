package tokendir

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	root     = User{Name: "root", Home: "/root"}
	frontend = User{Name: "frontend", UID: 1001, Home: "/home/frontend"}
)

// knobs is a configuration of HTCondor and HTCondor-CE: "CE.X" is X of the latter.
type knobs map[string]string

func (k knobs) lookup(s System, knob string) (string, bool) {
	if s.Name == "HTCondor-CE" {
		knob = "CE." + knob
	}
	v, ok := k[knob]
	return v, ok
}

func TestDirectoriesThatAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		user  User
		knobs knobs
		want  string
	}{
		"root": {root, nil,
			"/etc/condor/tokens.d HTCondor\n/etc/condor-ce/tokens.d HTCondor-CE\n"},
		"a user": {frontend, nil,
			"/home/frontend/.condor/tokens.d HTCondor,HTCondor-CE\n"},
		"a user without a home": {User{UID: 7}, nil, ""},
		"root, moved": {root, knobs{"SEC_TOKEN_SYSTEM_DIRECTORY": "/srv/tokens/", "CE.SEC_TOKEN_SYSTEM_DIRECTORY": "/srv/ce"},
			"/srv/tokens HTCondor by SEC_TOKEN_SYSTEM_DIRECTORY\n/srv/ce HTCondor-CE by SEC_TOKEN_SYSTEM_DIRECTORY\n"},
		"SEC_TOKEN_DIRECTORY is for everybody: root": {root, knobs{"SEC_TOKEN_DIRECTORY": "/srv/all", "SEC_TOKEN_SYSTEM_DIRECTORY": "/srv/tokens"},
			"/srv/all HTCondor by SEC_TOKEN_DIRECTORY\n/etc/condor-ce/tokens.d HTCondor-CE\n"},
		"SEC_TOKEN_DIRECTORY is for everybody: a user": {frontend, knobs{"SEC_TOKEN_DIRECTORY": "/srv/all", "SEC_TOKEN_SYSTEM_DIRECTORY": "/srv/tokens"},
			"/srv/all HTCondor by SEC_TOKEN_DIRECTORY\n/home/frontend/.condor/tokens.d HTCondor-CE\n"},
		"the same for both": {root, knobs{"SEC_TOKEN_DIRECTORY": "/srv/all", "CE.SEC_TOKEN_DIRECTORY": "/srv/all"},
			"/srv/all HTCondor,HTCondor-CE by SEC_TOKEN_DIRECTORY\n"},
		"the same for both, read differently": {frontend, knobs{"CE.LOCAL_CONFIG_DIR_EXCLUDE_REGEXP": "^x$"},
			"/home/frontend/.condor/tokens.d HTCondor\n/home/frontend/.condor/tokens.d HTCondor-CE but ^x$\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, d := range Directories(c.user, c.knobs.lookup) {
				if d.Fault != nil {
					t.Error(d.Fault)
				}
				got += d.Path + " " + strings.Join(d.Systems, ",")
				if d.Knob != "" {
					got += " by " + d.Knob
				}
				if !d.Reader.Exclude.IsDefault() {
					got += " but " + d.Reader.Exclude.String()
				}
				got += "\n"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExcludeThatCannotBeReplayedIsToldAndTheDirectoryRead(t *testing.T) {
	k := knobs{ExcludeKnob: "(?!x)"}
	all := Directories(root, k.lookup)
	if len(all) != 2 || all[0].Fault == nil || !all[0].Reader.Exclude.IsDefault() || all[1].Fault != nil {
		t.Errorf("%+v", all)
	}
	if d := At("/tmp/tokens", frontend, k.lookup); d.Fault == nil {
		t.Error("a directory that HTCondor does not know is read by other rules")
	}
}

func TestAnInvalidExcludeMeansThatNoFileIsRead(t *testing.T) {
	for _, text := range []string{"((", "a)", "[a", `a\`, "*a"} {
		reader := self()
		var err error
		reader.Exclude, err = ParseExclude(text)
		must(t, err)
		r := mustRead(t, directory(t, map[string]string{"a": good}), reader)
		if got := verdicts(r); got != "a name\n" {
			t.Errorf("%s: %s", text, got)
		}
		if f := r.Findings(); len(f) != 1 || !f[0].Grave || !strings.Contains(f[0].Text, "reads no file at all") {
			t.Errorf("%s: %+v", text, f)
		}
	}
}

func TestOnlyTokenDirectoriesAreFound(t *testing.T) {
	k := knobs{"SEC_TOKEN_SYSTEM_DIRECTORY": "/srv/tokens"}
	for path, reader := range map[string]string{
		"/etc/condor/tokens.d":                 "root",
		"/etc/condor/tokens.d/":                "root",
		"/etc/condor-ce/tokens.d":              "root",
		"/srv/tokens":                          "root",
		"/home/frontend/.condor/tokens.d":      "frontend",
		"/home/other/.condor/tokens.d":         "",
		"/root/.condor/tokens.d":               "",
		"/var/lib/gwms-frontend/tokens.d":      "",
		"/etc/condor/tokens.d/deeper":          "",
		"/home/frontend/.condor/../etc/condor": "",
	} {
		d, _ := Find(path, frontend, k.lookup)
		if d.Reader.Name != reader {
			t.Errorf("%s is read by %q, want %q", path, d.Reader.Name, reader)
		}
	}
}

func TestADirectoryIsFoundWhereItsLinkLeads(t *testing.T) {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "tokens")
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	d, found := Find(folder+"/", frontend, knobs{"SEC_TOKEN_SYSTEM_DIRECTORY": link}.lookup)
	if !found || d.Path != link || d.Reader.UID != 0 {
		t.Errorf("HTCondor's link to the directory is not followed: %+v", d)
	}
	if d, found := Find(link, frontend, knobs{"SEC_TOKEN_SYSTEM_DIRECTORY": folder}.lookup); found {
		t.Errorf("a link to the directory, which any user can make, is taken for it: %+v", d)
	}
}

func TestADirectoryOfEverybodyIsReadAsTheUser(t *testing.T) {
	for _, user := range []User{root, frontend} {
		d, found := Find("/srv/all", user, knobs{"SEC_TOKEN_DIRECTORY": "/srv/all"}.lookup)
		if !found || d.Reader.UID != user.UID {
			t.Errorf("for %s it is %+v", user, d)
		}
	}
}

func TestProblemsOfWantedFiles(t *testing.T) {
	system, ok := Find("/etc/condor/tokens.d", frontend, knobs{}.lookup)
	if !ok {
		t.Fatal("HTCondor's own directory is not found")
	}
	home, _ := Find("/home/frontend/.condor/tokens.d", frontend, knobs{}.lookup)
	good := File{Name: "10-collector", Mode: 0o600, Bare: true}
	with := func(change func(*File)) File {
		f := good
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		in   Directory
		file File
		want string // what the problems are about
	}{
		"as it should be":             {system, good, ""},
		"read-only":                   {system, with(func(f *File) { f.Mode = 0o400 }), ""},
		"a user's own":                {home, with(func(f *File) { f.UID = 1001 }), ""},
		"hidden":                      {system, with(func(f *File) { f.Name = ".token" }), "path"},
		"a script's name":             {system, with(func(f *File) { f.Name = "token.py" }), "path"},
		"a daemon's own name":         {system, with(func(f *File) { f.Name = "SCHEDD_auto_generated_token" }), "path"},
		"owned by a user":             {system, with(func(f *File) { f.UID = 1001 }), "owner"},
		"owned by root, for a user":   {home, good, "owner"},
		"open to the group":           {system, with(func(f *File) { f.Mode = fs.FileMode(0o640) }), "mode"},
		"open to others":              {system, with(func(f *File) { f.Mode = fs.FileMode(0o604) }), "mode"},
		"JSON":                        {system, with(func(f *File) { f.Bare = false }), "format"},
		"everything that can be done": {system, File{"a~", 1, 0o666, false}, "path owner mode format"},
	} {
		t.Run(name, func(t *testing.T) {
			var about []string
			for _, p := range c.in.Problems(c.file) {
				about = append(about, p.About)
			}
			if got := strings.Join(about, " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
