package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root takes on other identities")
	}
}

var somebody = Identity{UID: 54321, GID: 54321, Groups: []int{54323, 54322}}

func TestAThreadHasAllGroupsOfTheIdentity(t *testing.T) {
	needRoot(t)
	for name, id := range map[string]Identity{"all": somebody, "one": somebody.With(54322), "none": somebody.With(77)} {
		t.Run(name, func(t *testing.T) {
			err := id.Do(func() error {
				groups, err := unix.Getgroups()
				if uid, _ := unix.SetfsuidRetUid(-1); uid != id.UID || !sameGroups(groups, id.Groups) {
					t.Errorf("the thread is %d with %v", uid, groups)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAnIdentityReadsOnlyWhatItsUserMay(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := somebody.Do(func() error {
		_, err := os.ReadFile(path)
		return err
	})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("it says %v", err)
	}
}

func TestOnlyRootTakesOnAnIdentity(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("for an ordinary user")
	}
	err := somebody.Do(func() error { t.Error("it was called"); return nil })
	if p, ok := errors.AsType[*Powerless](err); !ok || p.Capability != "CAP_SETGID" {
		t.Errorf("it says %v", err)
	}
}
