package issuertest

import (
	"path/filepath"
	"testing"
)

// GoOIDC is the path of a program that verifies tokens with go-oidc. Its source in
// sources/testdata/go-oidc says how it is asked. testdata is the path of sources/testdata.
func GoOIDC(t testing.TB, testdata string) string {
	t.Helper()
	needLong(t)
	folder := made(t, filepath.Join(testdata, "go-oidc"), []string{"main.go", "go.mod", "go.sum"}, func(folder string) {
		need(t, folder, "go", "build", "-o", "go-oidc", ".")
	})
	return filepath.Join(folder, "go-oidc")
}
