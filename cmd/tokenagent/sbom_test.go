package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The list of parts that `make sbom` writes names what was linked into the
// program, no more and no less, and is the same each time.
func TestSBOMNamesWhatTheProgramIsMadeOf(t *testing.T) {
	requireLong(t)
	t.Chdir(root)
	t.Setenv("GOFLAGS", "-trimpath -buildvcs=false") // as the Makefile builds it
	t.Setenv("CGO_ENABLED", "0")
	requirePart(t, "go", "build", "-modfile=.ci/sbom.mod", "-o", os.DevNull, "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod")

	folder := t.TempDir()
	first := makeSBOM(t, filepath.Join(folder, "a"))
	if again := makeSBOM(t, filepath.Join(folder, "b")); again != first {
		t.Errorf("the second list differs from the first:\n%s", cmp.Diff(first, again))
	}

	listed := modulesOfSBOM(t, first)
	linked := modulesOfProgram(t, filepath.Join(folder, "a", "tokenagent"))
	if diff := cmp.Diff(linked, listed); diff != "" {
		t.Errorf("-linked +listed:\n%s", diff)
	}
}

// makeSBOM builds the program into the folder, and returns the text of its list.
func makeSBOM(t *testing.T, folder string) string {
	t.Helper()
	c := exec.Command("make", "sbom", "VERSION=1.2.3", "BIN="+folder, "DIST="+folder)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return readFile(t, filepath.Join(folder, "tokenagent.cdx.json"))
}

// modulesOfSBOM are the versions that the list gives, by module.
func modulesOfSBOM(t *testing.T, text string) map[string]string {
	t.Helper()
	type module struct{ Name, Version string }
	var list struct {
		Metadata   struct{ Component module }
		Components []module
	}
	check(t, json.Unmarshal([]byte(text), &list))
	found := map[string]string{list.Metadata.Component.Name: list.Metadata.Component.Version}
	for _, c := range list.Components {
		found[c.Name] = c.Version
	}
	return found
}

// modulesOfProgram are those that `go version -m` prints of the program, with
// Go's own library, which faults are found in as well.
func modulesOfProgram(t *testing.T, program string) map[string]string {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	check(t, err)
	linked := map[string]string{info.Main.Path: "1.2.3", "std": info.GoVersion}
	for _, d := range info.Deps {
		linked[d.Path] = d.Version
	}
	return linked
}
