package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What an administrator installs, made by the real tools: the RPM is built,
// judged, installed into an empty root, upgraded there and removed. A build of
// the release after it begins with nothing but the archives of the first one.

const (
	firstRPM = "tokenagent-0.1.0-1.x86_64.rpm"
	nextRPM  = "tokenagent-0.1.0-2.x86_64.rpm"
	firstDeb = "tokenagent_0.1.0-1_amd64.deb"

	ourConfig = "etc/tokenagent/tokenagent.hcl"
)

func TestPackages(t *testing.T) {
	requireLong(t)
	requireRoot(t, "install into a root file system")
	requirePart(t, "rpmbuild", "--version")
	requirePart(t, "rpmlint", "--version")
	requirePart(t, "busybox", "true")

	dist := t.TempDir()
	buildPackages(t, root, dist, "rpm")
	source := nextRelease(t, filepath.Join(dist, "tokenagent-0.1.0-1.src.rpm"))
	next := filepath.Join(source, "dist")
	buildPackages(t, source, next, "rpm")
	first, second, deb := filepath.Join(dist, firstRPM), filepath.Join(next, nextRPM), filepath.Join(next, firstDeb)

	t.Run("rpmlint finds no fault", func(t *testing.T) { lintRPM(t, dist) })
	t.Run("the same source gives the same bytes", func(t *testing.T) {
		sameBinary(t, first, second)
		sameRPMs(t, dist)
	})
	t.Run("installed, upgraded, removed", func(t *testing.T) {
		r := newRPMRoot(t)
		r.install(t, first)
		r.keepsWhatTheAdministratorWrote(t, second)
		r.remove(t)
	})
	t.Run("the Debian package has the same files", func(t *testing.T) {
		requirePart(t, "dpkg-deb", "--version")
		buildPackages(t, source, next, "deb")
		sameFiles(t, deb, second)
	})
	t.Run("a newcomer has a token that HTCondor uses", func(t *testing.T) {
		requirePart(t, "systemd-nspawn", "--version")
		m := newcomer(t)
		m.lives(t, release{"rpm --nodeps -i", first}, release{"rpm --nodeps -U", second}, "rpm -e")
		m.lives(t, release{"dpkg --force-depends -i", deb}, release{"dpkg --force-depends -i", deb}, "dpkg -r")
	})
}

// buildPackages is `make rpm` or `make deb` in a source tree, other than ours
// without a network. %check runs the tests of one small package: those of all run
// anyway. Both trees share the cache of compiled packages unless
// TOKENAGENT_COLD_BUILD=1, as in `make torture`.
func buildPackages(t *testing.T, tree, dist, target string) {
	t.Helper()
	args := []string{"make", target, "DIST=" + dist, "RPMFLAGS=--define 'tests ./agent/profile'"}
	env := append(os.Environ(), "SOURCE_DATE_EPOCH=1795355422")
	if tree != root {
		args = append([]string{"unshare", "--net"}, args...)
		if os.Getenv("TOKENAGENT_COLD_BUILD") == "1" {
			env = append(env, "GOCACHE="+t.TempDir())
		}
	}
	c := exec.Command(args[0], args[1:]...)
	c.Dir, c.Env = tree, env
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%q in %s: %v\n%s", args, tree, err, out)
	}
}

// nextRelease unpacks the source RPM, as people without our repository have it,
// and makes a second release of it whose configuration has changed.
func nextRelease(t *testing.T, srpm string) string {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, `rpm2cpio "$1" | cpio -i --quiet && tar xf tokenagent-0.1.0.tar.gz`, srpm)
	tree := filepath.Join(dir, "tokenagent-0.1.0")
	edit(t, filepath.Join(tree, "packaging/rpm/tokenagent.spec"), "Release:        1%", "Release:        2%")
	edit(t, filepath.Join(tree, "packaging/tokenagent.hcl"), "# This file", "# Of the second release.\n# This file")
	return tree
}

func lintRPM(t *testing.T, dist string) {
	args := []string{"-c", filepath.Join(root, "packaging/rpm/rpmlint.toml"), filepath.Join(root, "packaging/rpm/tokenagent.spec")}
	rpms, _ := filepath.Glob(filepath.Join(dist, "*.rpm"))
	out, err := exec.Command("rpmlint", append(args, rpms...)...).CombinedOutput()
	if err != nil || len(rpms) != 2 || !bytes.Contains(out, []byte("2 packages and 1 specfiles checked; 0 errors, 0 warnings")) {
		t.Errorf("rpmlint of %q: %v\n%s", rpms, err, out)
	}
}

// sameBinary compares what two builds made, in two folders, one of them no
// repository.
func sameBinary(t *testing.T, first, second string) {
	digests := func(rpm string) string { return packaged(t, rpm)["/usr/bin/tokenagent"] }
	if a, b := digests(first), digests(second); a != b || len(a) != 64 {
		t.Errorf("two builds made two binaries: %s and %s", a, b)
	}
}

// sameRPMs builds the first release once more.
func sameRPMs(t *testing.T, dist string) {
	before := map[string]string{}
	names, _ := filepath.Glob(filepath.Join(dist, "*.rpm"))
	for _, name := range names {
		before[name] = readFile(t, name)
	}
	buildPackages(t, root, dist, "rpm")
	for name, bytes := range before {
		if readFile(t, name) != bytes {
			t.Errorf("%s is another one after a second build", filepath.Base(name))
		}
	}
	if len(before) != 2 {
		t.Errorf("found %q; want a source and a binary RPM", names)
	}
}

// packaged are the SHA-256 digests of an RPM's files.
func packaged(t *testing.T, rpm string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(shell(t, "", `rpm -qp --qf '[%{FILENAMES} %{FILEDIGESTS}\n]' "$1"`, rpm)) {
		if name, digest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[name] = digest
		}
	}
	return found
}

// sameFiles compares what both packages share: all but documents and licences,
// for which each distribution has its place, and the program, in which Go notes
// whether the modules came from a vendor folder.
func sameFiles(t *testing.T, deb, rpm string) {
	dir := t.TempDir()
	shell(t, dir, `dpkg-deb -R "$1" .`, deb)
	if got := readFile(t, filepath.Join(dir, "DEBIAN/conffiles")); got != "/"+ourConfig+"\n" {
		t.Errorf("its configuration files are %q", got)
	}
	shell(t, dir, `md5sum --quiet -c DEBIAN/md5sums && for s in postinst prerm postrm; do sh -n DEBIAN/$s; done`)
	compared := 0
	for name, digest := range packaged(t, rpm) {
		there := strings.Replace(name, "/zsh/site-functions/", "/zsh/vendor-completions/", 1)
		if digest == "" || name == "/usr/bin/tokenagent" || strings.HasPrefix(name, "/usr/share/doc/") || strings.HasPrefix(name, "/usr/share/licenses/") {
			continue
		}
		if got, _, _ := strings.Cut(shell(t, dir, `sha256sum "$1"`, "."+there), " "); got != digest {
			t.Errorf("%s differs", name)
		}
		compared++
	}
	if compared < 20 {
		t.Errorf("only %d files were compared", compared)
	}
}

// An rpmRoot is an empty root file system with a shell, for the scriptlets, and
// a systemctl that only writes down what it is told.
type rpmRoot struct{ dir string }

func newRPMRoot(t *testing.T) rpmRoot {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, `mkdir bin dev && mknod -m 0666 dev/null c 1 3 && cp "$(command -v busybox)" bin/ && ln -s busybox bin/sh
		printf '#!/bin/sh\necho "$@" >> /asked\n' >bin/systemctl && chmod +x bin/systemctl`)
	return rpmRoot{dir}
}

// rpm runs rpm on the root, and returns what the scriptlets asked of systemctl.
func (r rpmRoot) rpm(t *testing.T, args ...string) (asked string) {
	t.Helper()
	os.Remove(r.path("asked"))
	out, err := exec.Command("rpm", append([]string{"--root", r.dir, "--dbpath", "/var/lib/rpm", "--nodeps"}, args...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("scriptlet failed")) {
		t.Fatalf("rpm %q: %v\n%s", args, err, out)
	}
	text, _ := os.ReadFile(r.path("asked"))
	return string(text)
}

// run runs a program in the root, with a /proc.
func (r rpmRoot) run(t *testing.T, args ...string) string {
	t.Helper()
	return shell(t, r.dir, `mkdir -p proc && unshare --mount sh -e -c 'mount -t proc proc proc && exec chroot . "$@"' sh "$@"`, args...)
}

func (r rpmRoot) path(name string) string { return filepath.Join(r.dir, name) }

func (r rpmRoot) install(t *testing.T, rpm string) {
	if asked := r.rpm(t, "-i", rpm); !strings.Contains(asked, "preset tokenagent.service") {
		t.Errorf("the installation asked systemctl for %q; want the preset", asked)
	}
	if changed := shell(t, "", `rpm --root "$1" --dbpath /var/lib/rpm --nodeps -V tokenagent`, r.dir); changed != "" {
		t.Errorf("rpm -V finds changed:\n%s", changed)
	}
	if got := r.run(t, "tokenagent", "version"); !strings.HasPrefix(got, "tokenagent 0.1.0 ") {
		t.Errorf("it is %q", got)
	}
	if got := shell(t, r.dir, `cd usr/share/doc/tokenagent && find examples -type f | grep -c '^examples/[a-z-]*\.hcl$'; find . -name '*.go'`); !regexp.MustCompile(`^[1-9][0-9]+\n$`).MatchString(got) {
		t.Errorf("its documents have so many examples, and these files of Go:\n%s", got)
	}
	for _, secret := range []string{"etc/tokenagent/keys", "etc/tokenagent/secrets"} {
		if info, err := os.Stat(r.path(secret)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s is not for root alone: %v, %v", secret, info, err)
		}
	}
	verifyUnits(t, r.dir)
}

func (r rpmRoot) keepsWhatTheAdministratorWrote(t *testing.T, next string) {
	mine := readFile(t, r.path(ourConfig)) + "\nlocals { mine = true }\n"
	writeFile(t, r.path(ourConfig), []byte(mine))
	for _, name := range []string{"conf.d/mine.hcl", "keys/mine.pem"} {
		writeFile(t, r.path("etc/tokenagent/"+name), []byte("# mine\n"))
	}
	if asked := r.rpm(t, "-U", next); !strings.Contains(asked, "try-restart tokenagent.service tokenagent@*.service") || strings.Contains(asked, "disable") {
		t.Errorf("the upgrade asked systemctl for %q; want a restart of what runs", asked)
	}
	if got := readFile(t, r.path(ourConfig)); got != mine {
		t.Errorf("the upgrade changed the configuration:\n%s", got)
	}
	if got := readFile(t, r.path(ourConfig+".rpmnew")); !strings.Contains(got, "Of the second release") {
		t.Errorf("the new release's configuration is not beside it:\n%s", got)
	}
}

func (r rpmRoot) remove(t *testing.T) {
	mine := readFile(t, r.path(ourConfig))
	if asked := r.rpm(t, "-e", "tokenagent"); !strings.Contains(asked, "disable --now tokenagent.service\n") || !strings.Contains(asked, "stop tokenagent@*.service\n") {
		t.Errorf("the removal asked systemctl for %q; want that what runs is stopped", asked)
	}
	if got := readFile(t, r.path(ourConfig+".rpmsave")); got != mine {
		t.Errorf("the configuration was not kept:\n%s", got)
	}
	var left []string
	filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, _ error) error {
		if name, _ = filepath.Rel(r.dir, name); d.Type().IsRegular() && !strings.HasPrefix(name, "bin/") && !strings.HasPrefix(name, "var/lib/rpm/") {
			left = append(left, name)
		}
		return nil
	})
	want := "asked etc/tokenagent/conf.d/mine.hcl etc/tokenagent/keys/mine.pem " + ourConfig + ".rpmnew " + ourConfig + ".rpmsave"
	if strings.Join(left, " ") != want {
		t.Errorf("the removal left %q, want %q", left, want)
	}
}

// newcomer is a machine without tokenagent; of HTCondor it has a folder for keys, and
// two programs that tell the configuration and take note of a reconfig.
func newcomer(t *testing.T) machine {
	t.Helper()
	m := bootMachine(t)
	m.run(t, "sh", "-e", "-c", `
		rm -r /usr/bin/tokenagent /usr/lib/systemd/*/tokenagent* /etc/systemd/system/tokenagent* /etc/tokenagent /etc/condor/passwords.d/*
		systemctl daemon-reload
		printf '#!/bin/sh\n[ $1 = -macro ] || exec echo cm.example.org\nfor a; do case ${a%%%%=*} in -macro) ;; TRUST_DOMAIN) echo TRUST_DOMAIN=cm.example.org ;; LOCAL_CONFIG_DIR_EXCLUDE_REGEXP) echo LOCAL_CONFIG_DIR_EXCLUDE_REGEXP=^[.] ;; *) echo ${a%%%%=*}= ;; esac; done\n' >/usr/bin/condor_config_val
		printf '#!/bin/sh\ntouch /run/reconfigured\n' >/usr/sbin/condor_reconfig
		chmod +x /usr/bin/condor_config_val /usr/sbin/condor_reconfig`)
	return m
}

// A release is how a package comes to a machine, and with which command.
type release struct{ command, file string }

// lives installs a package, does what the newcomer's page says, and upgrades and
// removes the package.
func (m machine) lives(t *testing.T, first, second release, remove string) {
	p := installPage(t)
	m.run(t, "sh", "-c", "rm -rf /etc/condor/tokens.d/* /var/lib/tokenagent /run/reconfigured") // of another package
	m.installs(t, first)
	if state, _ := m.try("systemctl", "is-enabled", "tokenagent"); state != "disabled\n" {
		t.Errorf("after the installation the service is %s", state)
	}
	// This machine is the manager as well, and has no server to copy from.
	const shell = "sudo() { \"$@\"; }\nscp() { cp \"${1#*:}\" \"$2\"; }\n"
	if said := m.run(t, "sh", "-e", "-c", shell+p.onManager); strings.TrimSpace(said) != "cm.example.org" {
		t.Errorf("on the manager they say %q", said)
	}
	m.run(t, "sh", "-e", "-c", shell+p.copyKey+`
		[ "$(stat -c %a /etc/condor/passwords.d/ap1 /etc/tokenagent/keys/ap1 | uniq)" = 600 ] && [ "$(wc -c </etc/tokenagent/keys/ap1)" -gt 64 ]
		rm /etc/condor/passwords.d/ap1 /run/reconfigured`)
	writeFile(t, m.path("/etc/tokenagent/conf.d/pool.hcl"), []byte(p.config))
	if out, err := m.try("tokenagent", "check", "--strict"); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	said := m.run(t, "sh", "-e", "-c", shell+p.start)
	for _, want := range []string{`schedd +valid`, `10-pool +sent`} {
		if !regexp.MustCompile(want).MatchString(said) {
			t.Errorf("status and doctor do not say %q:\n%s", want, said)
		}
	}
	eventually(t, "the reconfig of HTCondor", func() bool { return exists(m.path("/run/reconfigured")) })
	m.survives(t, p.config, second, remove)
}

// survives upgrades and removes the package while its service and another agent
// run. A good token and the configuration stay as they are.
func (m machine) survives(t *testing.T, config string, second release, remove string) {
	writeFile(t, m.path("/etc/tokenagent/second.hcl"), []byte(strings.Replace(config, "10-pool", "20-second", 1)))
	m.run(t, "systemctl", "start", "tokenagent@second")
	token := readFile(t, m.path("/etc/condor/tokens.d/10-pool"))
	units := []string{"tokenagent", "tokenagent@second"}
	before := map[string]string{}
	for _, unit := range units {
		before[unit] = m.property(t, unit, "MainPID")
	}
	m.installs(t, second)
	for _, unit := range units {
		if after := m.property(t, unit, "MainPID"); after == before[unit] || after == "0" {
			t.Errorf("the upgrade left process %s of %s running, as %s", before[unit], unit, after)
		}
		m.wantStatus(t, unit, "1 token valid; next renewal .*")
	}
	m.run(t, append(strings.Fields(remove), "tokenagent")...)
	for _, unit := range units {
		if state, _ := m.try("systemctl", "is-active", unit); state != "inactive\n" {
			t.Errorf("after the removal %s is %s", unit, state)
		}
	}
	if readFile(t, m.path("/etc/condor/tokens.d/10-pool")) != token {
		t.Error("upgrade and removal did not leave a good token alone")
	}
	if got := readFile(t, m.path("/etc/tokenagent/conf.d/pool.hcl")); got != config {
		t.Errorf("of the configuration is left %q", got)
	}
}

// A page is what the newcomer's page has typed: commands on the manager, the copy of
// the key after the installation, the configuration, and the commands after that.
type page struct{ onManager, copyKey, config, start string }

// installPage reads that page. On the access point it is fifteen lines at most, not
// counting those that only look. (The last of them asks a pool, as other tests do.)
func installPage(t *testing.T) page {
	t.Helper()
	text := sections(readFile(t, filepath.Join(root, "docs/install.md")))["From dnf to a token that HTCondor uses"]
	typed, configs := fenced(text, "sh"), fenced(text, "hcl")
	if len(typed) != 5 || len(configs) != 1 {
		t.Fatalf("the page has the commands %q and %d configurations", typed, len(configs))
	}
	copyKey, found := strings.CutPrefix(typed[1], "sudo dnf install ./"+firstRPM+"\n")
	if lines := strings.Count(typed[1]+configs[0]+typed[2], "\n"); !found || lines > 15 {
		t.Errorf("a newcomer types %d lines, first %q", lines, typed[1])
	}
	return page{typed[0], copyKey, configs[0], typed[2] + typed[3]}
}

// installs copies a package into the machine and runs the command on it.
func (m machine) installs(t *testing.T, r release) {
	t.Helper()
	there := "/root/" + filepath.Base(r.file)
	writeFile(t, m.path(there), []byte(readFile(t, r.file)))
	if out := m.run(t, append(strings.Fields(r.command), there)...); strings.Contains(out, "scriptlet failed") {
		t.Fatalf("%s %s:\n%s", r.command, there, out)
	}
}

// verifyUnits has systemd check the units that were installed into the root,
// whose program is laid over the machine's for as long. The exit code is 0 for a
// word that systemd does not know, so that it is the output that counts.
func verifyUnits(t *testing.T, dir string) {
	t.Helper()
	requirePart(t, "systemd-analyze", "--version")
	said := shell(t, dir, `unshare --mount sh -e -c '
		mount -t overlay overlay -o lowerdir=usr/bin:/usr/bin /usr/bin
		export XDG_RUNTIME_DIR=/run
		systemd-analyze --man=no --system verify usr/lib/systemd/system/tokenagent.service usr/lib/systemd/system/tokenagent@.service
		systemd-analyze --man=no --user verify usr/lib/systemd/user/tokenagent.service' 2>&1`)
	if said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
}

// What stands in the configuration that comes with the package as a comment
// is good without its hash signs; as it is it defines nothing.
func TestPackagedConfigurationLoads(t *testing.T) {
	text := readFile(t, filepath.Join(root, "packaging/tokenagent.hcl"))
	if rest := regexp.MustCompile(`(?m)^#.*\n|^\n`).ReplaceAllString(text, ""); rest != "" {
		t.Errorf("it is not all comment:\n%s", rest)
	}
	_, example, found := strings.Cut(text, "\n\n# source")
	if !found {
		t.Fatal("it shows no configuration")
	}
	mustLoad(t, regexp.MustCompile(`(?m)^# ?`).ReplaceAllString("# source"+example, ""))
}

// shell runs a script with arguments in a folder and returns what it printed.
func shell(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	c := exec.Command("sh", append([]string{"-e", "-c", script, "sh"}, args...)...)
	c.Dir = dir
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", script, args, err, out, &complaints)
	}
	return string(out)
}

// edit replaces a text in a file, where it must be once.
func edit(t *testing.T, name, from, to string) {
	t.Helper()
	text := readFile(t, name)
	if strings.Count(text, from) != 1 {
		t.Fatalf("%s does not have %q once", name, from)
	}
	writeFile(t, name, []byte(strings.Replace(text, from, to, 1)))
}
