package sources

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// ownKeys is the folder of this package's installation for signing keys.
const ownKeys = "/etc/tokenagent/keys"

// warnOfOwnDomain warns of a trust domain that this host's HTCondor only made up from
// the host's name: HTCondor's default is UID_DOMAIN, and that of UID_DOMAIN the full
// host name. On the host of the collector that is the pool's trust domain.
func warnOfOwnDomain(b *config.Block, domain string) {
	if domain == "" || runsCollector(b) {
		return
	}
	for _, knob := range []string{"UID_DOMAIN", "FULL_HOSTNAME"} {
		if value, err := b.Knob(knob); err != nil || !strings.EqualFold(value, domain) {
			return
		}
	}
	b.Warn("trust_domain", "the trust domain is this host's own name", fmt.Sprintf(
		"trust_domain is left out, and TRUST_DOMAIN of this host's HTCondor is %q by default, not by its configuration. HTCondor sends no token of another trust domain than the manager's, and does not say so. Type on the central manager\n"+
			"  condor_config_val %s\nand write its answer here:\n  trust_domain = \"cm.example.org\"", domain, trustDomainKnob))
}

// warnOfCondorsKey warns of a key that HTCondor on this host can sign with by itself.
// Its tools and daemons need no token then: as root they make themselves
// condor@password, where the server has a key of that name. The host of the
// collector must have it.
func (s *htcondor) warnOfCondorsKey(b *config.Block) {
	folder, err := b.Knob("SEC_PASSWORD_DIRECTORY")
	if err != nil || runsCollector(b) {
		return
	}
	theirs := filepath.Join(folder, s.keyID)
	if pool, err := b.Knob(poolKeyKnob); err == nil && s.keyID == keys.PoolKey {
		theirs = pool
	}
	const summary = "HTCondor on this host can use the key without a token"
	const why = "The tools and daemons of root here then need no token: they can make themselves condor@password with every right, whatever the scope of the token says. This host runs no COLLECTOR, so only tokenagent needs the key."
	switch {
	case sameFile(s.file, theirs) || sameFile(filepath.Dir(s.file), folder):
		b.Warn("key_file", summary, fmt.Sprintf("it lies where HTCondor looks for keys: %s. %s %s", s.file, why, move(s.file, s.keyID, b.Command("reload"))))
	case exists(theirs):
		b.Warn("key_file", summary, fmt.Sprintf("a key of the same name lies where HTCondor looks for keys: %s. %s If it is the same key, type\n  rm %s", theirs, why, host.ShellWord(theirs)))
	}
}

// move is what to type so that the key lies in our folder, with the same bytes and
// the same name.
func move(file, keyID, reload string) string {
	own := filepath.Join(ownKeys, keyID)
	from := host.ShellWord(file)
	return fmt.Sprintf("Move it: type\n  install -D -m 0600 %s %s\nwrite in this block\n  key_file = %q\n  key_id   = %q\nand type\n  %s && rm %[1]s", from, host.ShellWord(own), own, keyID, reload)
}

// runsCollector reports whether this host's HTCondor runs a collector.
func runsCollector(b *config.Block) bool {
	list, _ := b.Knob("DAEMON_LIST")
	daemons := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	return slices.ContainsFunc(daemons, func(d string) bool { return strings.EqualFold(d, "COLLECTOR") })
}

// sameFile reports whether both paths lead to the same file or folder.
func sameFile(a, b string) bool {
	at, errA := os.Stat(a)
	bt, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(at, bt)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
