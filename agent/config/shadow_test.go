package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// two are two tokens of one issuer and key, in the folders with these names.
func two(first, second string) string {
	return `source "fake" "cm" {
  issuer = "cm.example.org"
}
token "a" {
  source  = source.fake.cm
  profile = "htcondor"
  sink "fake" { path = "` + first + `/tokens.d/10" }
}
token "b" {
  source  = source.fake.cm
  profile = "htcondor"
  sink "fake" { path = "` + second + `/tokens.d/20" }
}
`
}

func TestAHiddenTokenIsToldByWhich(t *testing.T) {
	got := loadFaults(t, two("/srv", "/srv"))
	for _, want := range []string{
		"a.hcl:12:", "HTCondor would never use this token",
		"token a, at a.hcl:7:", "puts /srv/tokens.d/10 before it",
		`of the issuer "cm.example.org" and the key "POOL"`, "make one token with the scopes of both",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the fault does not say %q:\n%s", want, got)
		}
	}
	if strings.Count(got, "\n") > 0 {
		t.Errorf("there is more than one fault:\n%s", got)
	}
}

func TestATokenIsHiddenInADirectoryOfAnySpelling(t *testing.T) {
	base := t.TempDir()
	folder, link := filepath.Join(base, "folder"), filepath.Join(base, "link")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(folder, link); err != nil {
		t.Fatal(err)
	}
	if got := loadFaults(t, two(folder, link)); !strings.Contains(got, "HTCondor would never use this token") {
		t.Errorf("got %q", got)
	}
	if err := os.Mkdir(filepath.Join(folder, "tokens.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := loadFaults(t, two(folder, link)); !strings.Contains(got, "HTCondor would never use this token") {
		t.Errorf("once the directory is there, got %q", got)
	}
}

func TestInstancesThatHideEachOtherAreToldOnce(t *testing.T) {
	got := loadFaults(t, `source "fake" "cm" {
  issuer = "cm.example.org"
}
token "each" {
  for_each = toset(["1", "2", "3"])
  source   = source.fake.cm
  profile  = "htcondor"
  sink "fake" { path = "/srv/tokens.d/${each.key}" }
}
`)
	if !strings.Contains(got, `token each["1"], at a.hcl:8:`) || !strings.Contains(got, `(for each["2"] and one more)`) || strings.Count(got, "\n") > 0 {
		t.Errorf("got %s", got)
	}
}
