package sources

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/agent/config"
)

func TestATrustDomainThatIsTheHostsNameIsWarnedOf(t *testing.T) {
	left := pool(`key_file = "DIR/site"`)
	for name, c := range map[string]struct {
		condor map[string]string
		source string
		want   string // of the warning; "" for none
	}{
		"by default": {map[string]string{"TRUST_DOMAIN": "ap1.example.org", "UID_DOMAIN": "ap1.example.org", "FULL_HOSTNAME": "ap1.example.org", "DAEMON_LIST": "MASTER, SCHEDD"}, left,
			"Type on the central manager\n  condor_config_val TRUST_DOMAIN\nand write its answer here:\n  trust_domain = \"cm.example.org\""},
		"in capitals":           {map[string]string{"TRUST_DOMAIN": "ap1.example.org", "UID_DOMAIN": "AP1.example.org", "FULL_HOSTNAME": "Ap1.Example.org"}, left, `"ap1.example.org" by default`},
		"of a role":             {map[string]string{"TRUST_DOMAIN": "cm.example.org", "UID_DOMAIN": "ap1.example.org", "FULL_HOSTNAME": "ap1.example.org"}, left, ""},
		"the site's":            {map[string]string{"TRUST_DOMAIN": "example.org", "UID_DOMAIN": "example.org", "FULL_HOSTNAME": "ap1.example.org"}, left, ""},
		"on the manager":        {map[string]string{"TRUST_DOMAIN": "cm.example.org", "UID_DOMAIN": "cm.example.org", "FULL_HOSTNAME": "cm.example.org", "DAEMON_LIST": "MASTER collector,NEGOTIATOR"}, left, ""},
		"written":               {map[string]string{"TRUST_DOMAIN": "ap1.example.org", "UID_DOMAIN": "ap1.example.org", "FULL_HOSTNAME": "ap1.example.org"}, pool(`key_file = "DIR/site"`, domain), ""},
		"an HTCondor in doubt":  {map[string]string{"TRUST_DOMAIN": "ap1.example.org", "UID_DOMAIN": "ap1.example.org"}, left, ""},
		"an HTCondor not there": {nil, pool(`key_file = "DIR/site"`, domain), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := loadBeside(t, c.condor, poolDir(t), c.source+scheddToken, false)
			wantWarning(t, faults, "the trust domain is this host's own name", c.want)
		})
	}
}

// wantWarning holds that the faults tell of it, with those words; with none, that
// they do not.
func wantWarning(t *testing.T, faults config.Faults, summary, want string) {
	t.Helper()
	said := ""
	for _, f := range faults {
		said += f.Summary + ": " + f.Detail + "\n"
	}
	if told := strings.Contains(said, summary); told != (want != "") || !strings.Contains(said, want) {
		t.Errorf("got %s\nwant %q", said, want)
	}
}

func TestAKeyThatHTCondorCanUseItselfIsWarnedOf(t *testing.T) {
	daemons := func(list string, more ...string) map[string]string {
		knobs := map[string]string{"DAEMON_LIST": list, "SEC_PASSWORD_DIRECTORY": "DIR/passwords.d", "TRUST_DOMAIN": "cm.example.org"}
		for i := 0; i < len(more); i += 2 {
			knobs[more[i]] = more[i+1]
		}
		return knobs
	}
	for name, c := range map[string]struct {
		condor map[string]string
		source string
		want   string // of the warning; "" for none
	}{
		"there": {daemons("MASTER, SCHEDD"), pool(`key_file = "DIR/passwords.d/ap1"`, domain),
			"\n  install -D -m 0600 DIR/passwords.d/ap1 /etc/tokenagent/keys/ap1\nwrite in this block\n  key_file = \"/etc/tokenagent/keys/ap1\"\n  key_id   = \"ap1\"\nand type\n  tokenagent reload && rm DIR/passwords.d/ap1"},
		"under another name": {daemons("MASTER"), pool(`key_file = "DIR/passwords.d/ap1"`, `key_id = "k1"`, domain), "install -D -m 0600 DIR/passwords.d/ap1 /etc/tokenagent/keys/k1\nwrite in this block\n  key_file = \"/etc/tokenagent/keys/k1\"\n  key_id   = \"k1\""},
		"through a link":     {daemons("MASTER"), pool(`key_file = "DIR/link/ap1"`, domain), `install -D -m 0600 DIR/link/ap1 `},
		"the pool's, left out": {daemons("MASTER", "SEC_TOKEN_POOL_SIGNING_KEY_FILE", "DIR/site"), pool(domain),
			"install -D -m 0600 DIR/site /etc/tokenagent/keys/POOL\nwrite in this block\n  key_file = \"/etc/tokenagent/keys/POOL\"\n  key_id   = \"POOL\""},
		"a copy of it":           {daemons("MASTER"), pool(`key_file = "DIR/site"`, `key_id = "ap1"`, domain), "a key of the same name lies where HTCondor looks for keys: DIR/passwords.d/ap1."},
		"elsewhere":              {daemons("MASTER"), pool(`key_file = "DIR/site"`, domain), ""},
		"on the manager":         {daemons("MASTER, COLLECTOR"), pool(`key_file = "DIR/passwords.d/ap1"`, domain), ""},
		"without HTCondor":       {nil, pool(`key_file = "DIR/passwords.d/ap1"`, domain), ""},
		"with nothing but tools": {daemons(""), pool(`key_file = "DIR/passwords.d/ap1"`, domain), "install -D -m 0600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := poolDir(t)
			for _, err := range []error{os.Mkdir(filepath.Join(dir, "passwords.d"), 0o700), os.Symlink("passwords.d", filepath.Join(dir, "link")),
				os.WriteFile(filepath.Join(dir, "passwords.d/ap1"), []byte("hello"), 0o600)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			_, faults := loadBeside(t, c.condor, dir, c.source+scheddToken, false)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			wantWarning(t, faults, "HTCondor on this host can use the key without a token", strings.ReplaceAll(c.want, "DIR", dir))
		})
	}
}
