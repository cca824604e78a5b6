package safefile

import "testing"

func TestForeignFoldersSayWhoseTheyAre(t *testing.T) {
	for want, f := range map[string]Foreign{
		"/x belongs to user nobody, not to root":                      {Path: "/x", UID: 65534},
		"/x belongs to uid 54399, not to root":                        {Path: "/x", UID: 54399},
		"/x belongs to user nobody, neither to root nor to uid 54321": {Path: "/x", UID: 65534, Owner: 54321},
		"/x belongs to uid 54399, neither to root nor to user nobody": {Path: "/x", UID: 54399, Owner: 65534},
	} {
		if got := f.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
