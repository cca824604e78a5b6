package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/keys"
)

// A pod is one of packaging/kubernetes, as far as these tests stand in for the
// kubelet: they lay out its volumes, and run its containers with podman, confined
// as the pod says.
type pod struct {
	Volumes []struct {
		Name      string
		EmptyDir  *struct{}
		ConfigMap *struct{ Name string }
		Secret    *struct{ DefaultMode os.FileMode }
	}
	SecurityContext            struct{ RunAsUser, RunAsGroup, FSGroup int }
	InitContainers, Containers []podContainer

	folder string // of its volumes
	prefix string // of its containers' names
	podman podman
}

type podContainer struct {
	Name, RestartPolicy                         string
	Command, Args                               []string
	Env                                         []struct{ Name, Value string }
	Ports                                       []any
	VolumeMounts                                []podMount
	StartupProbe, ReadinessProbe, LivenessProbe podProbe
	SecurityContext                             struct {
		ReadOnlyRootFilesystem   bool
		AllowPrivilegeEscalation *bool
		Capabilities             struct{ Drop []string }
	}
}

type podMount struct {
	Name, MountPath string
	ReadOnly        bool
}

type podProbe struct {
	Exec                             struct{ Command []string }
	TimeoutSeconds, FailureThreshold int
}

const manifests = root + "/packaging/kubernetes"

// readPod reads the pod of a manifest's template.
func readPod(t *testing.T, manifest string) *pod {
	t.Helper()
	requirePart(t, "/usr/bin/python3", "-c", "import yaml")
	c := exec.Command("/usr/bin/python3", "-c", "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
		filepath.Join(manifests, manifest))
	text, err := c.Output()
	check(t, err)
	var m struct {
		Spec struct{ Template struct{ Spec pod } }
	}
	check(t, json.Unmarshal(text, &m))
	return &m.Spec.Template.Spec
}

func TestManifestsAreThoseOfTheirExample(t *testing.T) {
	example := readFile(t, filepath.Join(root, "examples/configs/sidecar.hcl"))
	if readFile(t, filepath.Join(manifests, "tokenagent.hcl")) != example {
		t.Error("packaging/kubernetes/tokenagent.hcl is not examples/configs/sidecar.hcl, which is tested; copy it")
	}
	if kustomization := readFile(t, filepath.Join(manifests, "kustomization.yaml")); !strings.Contains(kustomization, "disableNameSuffixHash: true") {
		t.Error("a changed configuration would replace the pods")
	}
}

func TestPodIsConfinedAndProbed(t *testing.T) {
	for _, manifest := range []string{"deployment.yaml", "job.yaml"} {
		p := readPod(t, manifest)
		for _, c := range append(p.InitContainers, p.Containers...) {
			s := c.SecurityContext
			if !s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || fmt.Sprint(s.Capabilities.Drop) != "[ALL]" {
				t.Errorf("%s: %s is not confined: %+v", manifest, c.Name, s)
			}
			if len(c.Ports) > 0 {
				t.Errorf("%s: %s opens a port", manifest, c.Name)
			}
		}
	}
	agent := readPod(t, "deployment.yaml").InitContainers[0]
	if agent.RestartPolicy != "Always" {
		t.Errorf("restartPolicy is %q: it is no sidecar, and the containers wait for its end", agent.RestartPolicy)
	}
	for _, c := range []struct {
		probe podProbe
		flag  string
	}{{agent.StartupProbe, "--ready"}, {agent.ReadinessProbe, "--ready"}, {agent.LivenessProbe, "--live"}} {
		if got, want := strings.Join(c.probe.Exec.Command, " "), "/usr/bin/tokenagent status "+c.flag; got != want {
			t.Errorf("a probe runs %q, want %q", got, want)
		}
		if limit := time.Duration(c.probe.TimeoutSeconds) * time.Second; limit <= probeLimit {
			t.Errorf("%s takes up to %v, and is given %v", c.flag, probeLimit, limit)
		}
	}
	if once := readPod(t, "job.yaml").InitContainers[0]; once.RestartPolicy != "" || fmt.Sprint(once.Args) != "[once]" {
		t.Errorf("the job's init container does not end: %+v", once)
	}
}

// podman runs podman with a storage of its own, and without an engine.
type podman struct{ storage string }

const testImage = "localhost/tokenagent:test"

// withImage has an image as make builds it.
func withImage(t *testing.T) podman {
	t.Helper()
	requireRoot(t, "run containers without an engine")
	requirePart(t, "buildah", "--version")
	requirePart(t, "podman", "--version")
	requirePart(t, "crun", "--version")
	requirePart(t, "/bin/busybox", "true")
	folder := t.TempDir()
	archive, again := filepath.Join(folder, "image.tar"), filepath.Join(folder, "again.tar")
	build(t, "make", "-C", root, "image", "IMAGE="+testImage, "ARCHIVE="+archive, "BIN="+folder, "VERSION=test", "BUILT=1700000000")
	build(t, root+"/packaging/container/build", filepath.Join(folder, "tokenagent"), again, testImage, "1700000000")
	if readFile(t, archive) != readFile(t, again) {
		t.Error("the same program makes another image")
	}
	p := podman{filepath.Join(folder, "storage")}
	p.must(t, "load", "--quiet", "--input", archive)
	t.Cleanup(func() {
		for _, id := range strings.Fields(p.must(t, "ps", "--all", "--quiet", "--filter", "ancestor="+testImage)) {
			watchText("the log of a container of "+t.Name(), p.must(t, "logs", id))
		}
		p.must(t, "rm", "--force", "--all", "--time", "0")
	})
	return p
}

func build(t *testing.T, program string, args ...string) {
	t.Helper()
	c := exec.Command(program, args...)
	c.Env = append(os.Environ(), "MAKEFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// command is podman in a mount namespace with the control groups as crun needs
// them, also where they are mounted otherwise.
func (p podman) command(args ...string) *exec.Cmd {
	argv := []string{"-m", "sh", "-c", `umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"`, "sh",
		"podman", "--storage-driver", "vfs", "--root", p.storage + "/root", "--runroot", p.storage + "/run", "--tmpdir", p.storage + "/tmp",
		"--cgroup-manager", "cgroupfs", "--runtime", "crun", "--runtime-flag", "root=" + p.storage + "/crun"}
	return exec.Command("unshare", append(argv, args...)...)
}

func (p podman) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// layOut makes the volumes of the pod as the kubelet does.
func (p *pod) layOut(t *testing.T, configuration string, key []byte) {
	t.Helper()
	folder, err := os.MkdirTemp("", "tokenagent-pod-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(folder)) })
	p.folder, p.prefix = folder, filepath.Base(folder)+"-"
	for _, v := range p.Volumes {
		path := p.volume(v.Name)
		check(t, os.Mkdir(path, 0o700))
		switch {
		case v.ConfigMap != nil:
			p.project(t, path, "tokenagent.hcl", []byte(configuration), 0o644)
		case v.Secret != nil:
			p.project(t, path, "key.pem", key, v.Secret.DefaultMode)
		}
		p.ofGroup(t, path, 0o777)
	}
}

func (p *pod) volume(name string) string { return filepath.Join(p.folder, name) }

// project puts a file into a volume behind two links, so that the kubelet can
// change all files of the volume at once.
func (p *pod) project(t *testing.T, volume, name string, content []byte, mode os.FileMode) {
	t.Helper()
	folder, err := os.MkdirTemp(volume, "..2026_")
	check(t, err)
	p.ofGroup(t, folder, 0o755)
	check(t, os.WriteFile(filepath.Join(folder, name), content, 0o600))
	p.ofGroup(t, filepath.Join(folder, name), mode)
	check(t, os.Symlink(filepath.Base(folder), filepath.Join(volume, "..data_tmp")))
	check(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
	if err := os.Symlink("..data/"+name, filepath.Join(volume, name)); !errors.Is(err, os.ErrExist) {
		check(t, err)
	}
}

// ofGroup gives it to the fsGroup, folders for all that is made in them too.
func (p *pod) ofGroup(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	check(t, os.Chown(path, 0, p.SecurityContext.FSGroup))
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		mode |= os.ModeSetgid
	}
	check(t, os.Chmod(path, mode))
}

// run are the arguments for podman to run the container: image is its image, or
// --rootfs and a folder.
func (p *pod) run(c podContainer, image ...string) []string {
	args := []string{"run", "--name", p.prefix + c.Name, "--user", fmt.Sprintf("%d:%d", p.SecurityContext.RunAsUser, p.SecurityContext.RunAsGroup),
		"--group-add", fmt.Sprint(p.SecurityContext.FSGroup), "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
		"--security-opt=no-new-privileges", "--cgroups=disabled", "--network=none", "--ulimit=nofile=1024:2048", "--ulimit=nproc=1024:1024"}
	for _, e := range c.Env {
		args = append(args, "--env", e.Name+"="+e.Value)
	}
	for _, m := range c.VolumeMounts {
		volume := p.volume(m.Name) + ":" + m.MountPath
		if m.ReadOnly {
			volume += ":ro"
		}
		args = append(args, "--volume", volume)
	}
	return append(append(append(args, image...), c.Command...), c.Args...)
}

// busybox is a root file system for containers that read.
func busybox(t *testing.T) []string {
	t.Helper()
	folder := t.TempDir()
	check(t, os.Mkdir(filepath.Join(folder, "bin"), 0o755))
	program, err := os.ReadFile("/bin/busybox")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(folder, "bin/busybox"), program, 0o755))
	for _, name := range []string{"sh", "cat", "stat", "sleep"} {
		check(t, os.Symlink("busybox", filepath.Join(folder, "bin", name)))
	}
	return []string{"--rootfs", folder}
}

// briefly is the configuration of the manifests with tokens that are
// renewed after the least time, and a time zone, of which the image has its own.
func briefly(t *testing.T) string {
	t.Helper()
	text := readFile(t, filepath.Join(manifests, "tokenagent.hcl"))
	brief := strings.Replace(text, `lifetime = "1h"`, `lifetime = "3m"
  renew {
    min_remaining = "170s"
    cron          = "CRON_TZ=Europe/Zurich 0 4 * * *"
  }`, 1)
	if brief == text {
		t.Fatal("the configuration has no lifetime of an hour to be shortened")
	}
	return brief
}

// seenTokens is a script that shows the first three tokens that it sees, with
// mode and owner of their file.
const seenTokens = `last= n=0
while [ $n -lt 3 ]; do
  token=$(cat "$BEARER_TOKEN_FILE") || exit 1
  [ "$token" = "$last" ] || { echo "$token $(stat -c '%a %u' "$BEARER_TOKEN_FILE")"; last=$token n=$((n + 1)); }
  sleep 0.1
done`

func TestImage(t *testing.T) {
	requireLong(t)
	t.Parallel()
	podman := withImage(t)
	reader := busybox(t)
	if said := podman.must(t, "run", "--rm", "--cgroups=disabled", "--network=none", "--ulimit=nofile=1024:2048", "--ulimit=nproc=1024:1024", testImage, "version"); !strings.HasPrefix(said, "tokenagent ") {
		t.Errorf("version: %s", said)
	}
	key, pem := newSigningKey(t)
	t.Run("runs", func(t *testing.T) { // so that the containers go before the image
		for _, uid := range []int{1_234_567, 0} {
			t.Run(fmt.Sprintf("sidecar of uid %d", uid), func(t *testing.T) {
				t.Parallel()
				p := readPod(t, "deployment.yaml")
				p.podman, p.SecurityContext.RunAsUser, p.SecurityContext.RunAsGroup = podman, uid, uid
				p.layOut(t, briefly(t), pem)
				p.serves(t, key, reader)
			})
		}
		t.Run("once as init container", func(t *testing.T) {
			t.Parallel()
			p := readPod(t, "job.yaml")
			p.podman = podman
			p.layOut(t, readFile(t, filepath.Join(manifests, "tokenagent.hcl")), pem)
			podman.must(t, p.run(p.InitContainers[0], testImage)...)
			podman.must(t, p.run(p.Containers[0], reader...)...)
		})
		t.Run("once that cannot", func(t *testing.T) {
			t.Parallel()
			p := readPod(t, "job.yaml")
			p.podman = podman
			p.layOut(t, readFile(t, filepath.Join(manifests, "tokenagent.hcl")), pem)
			p.project(t, p.volume("key"), "key.pem", pem, 0o444) // what a Secret has without defaultMode
			out, err := podman.command(p.run(p.InitContainers[0], testImage)...).CombinedOutput()
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != exitConfiguration || !strings.Contains(string(out), "defaultMode: 0440") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	})
}

func newSigningKey(t *testing.T) (key keys.Key, pem []byte) {
	t.Helper()
	key, err := keys.Generate("ES256")
	check(t, err)
	pem, err = key.MarshalPEM()
	check(t, err)
	return key, pem
}

// serves plays the life of the pod.
func (p *pod) serves(t *testing.T, key keys.Key, image []string) {
	t.Helper()
	p.starts(t)
	p.isRead(t, key, image)
	p.takesANewKey(t)
	p.ends(t)
}

// starts runs the sidecar until its startup probe succeeds.
func (p *pod) starts(t *testing.T) {
	t.Helper()
	agent := p.InitContainers[0]
	p.podman.must(t, append([]string{"run", "--detach"}, p.run(agent, testImage)[1:]...)...)
	eventually(t, "success of the startup probe", func() bool { return p.ask(agent.StartupProbe).Run() == nil })
	if out, err := p.ask(agent.LivenessProbe).CombinedOutput(); err != nil {
		t.Errorf("the liveness probe fails: %v\n%s", err, out)
	}
}

func (p *pod) agentName() string { return p.prefix + p.InitContainers[0].Name }

// ask makes a probe of the sidecar.
func (p *pod) ask(probe podProbe) *exec.Cmd {
	return p.podman.command(append([]string{"exec", p.agentName()}, probe.Exec.Command...)...)
}

// isRead runs the container beside the sidecar until it has seen three tokens.
func (p *pod) isRead(t *testing.T, key keys.Key, image []string) {
	t.Helper()
	main := p.Containers[0]
	main.Command = []string{"sh", "-c", seenTokens}
	reads := p.podman.command(p.run(main, image...)...)
	reads.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := reads.CombinedOutput()
	if err != nil {
		t.Fatalf("the reader ends with %v:\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		token, rest, _ := strings.Cut(line, " ")
		if want := fmt.Sprintf("600 %d", p.SecurityContext.RunAsUser); rest != want {
			t.Errorf("the reader finds mode and owner %q, want %q", rest, want)
		}
		if err := (&site{key: key}).faultOf(token + "\n"); err != nil {
			t.Error(err)
		}
	}
	if len(lines) != 3 {
		t.Errorf("the reader saw %d tokens", len(lines))
	}
	if out, err := p.ask(p.InitContainers[0].ReadinessProbe).CombinedOutput(); err != nil {
		t.Errorf("the readiness probe fails: %v\n%s", err, out)
	}
}

// takesANewKey changes the Secret as the kubelet does.
func (p *pod) takesANewKey(t *testing.T) {
	t.Helper()
	key, pem := newSigningKey(t)
	p.project(t, p.volume("key"), "key.pem", pem, 0o440)
	eventually(t, "a token of the new key", func() bool {
		text, err := os.ReadFile(filepath.Join(p.volume("token"), "token"))
		return err == nil && (&site{key: key}).faultOf(string(text)) == nil
	})
}

// ends stops the sidecar as the kubelet does.
func (p *pod) ends(t *testing.T) {
	t.Helper()
	name := p.agentName()
	p.podman.must(t, "stop", "--time", "9", name)
	if code := strings.TrimSpace(p.podman.must(t, "inspect", "--format", "{{.State.ExitCode}}", name)); code != "0" {
		t.Errorf("stopped, it ends with exit code %s", code)
	}
	if log := p.podman.must(t, "logs", name); !strings.Contains(log, "stopped; the tokens stay where they are") {
		t.Error(log)
	}
}
