// Package condortest puts programs that stand for HTCondor's into PATH.
package condortest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Program puts a shell script of that name first in PATH.
func Program(t *testing.T, name, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// Config puts a program of that name first in PATH that prints these knobs as
// condor_config_val -macro does, after it has run the shell's commands.
func Config(t *testing.T, name, commands string, knobs map[string]string) {
	t.Helper()
	var cases strings.Builder
	for knob, value := range knobs {
		fmt.Fprintf(&cases, "%s) echo '%[1]s=%s' ;;\n", knob, value)
	}
	Program(t, name, commands+`
[ "$1" = -macro ] && shift
for asked; do
case "${asked%%=*}" in
`+cases.String()+`'$INT(SEC_TOKEN_MAX_AGE)') echo 3600 ;;
*) echo "${asked%%=*}=" ;;
esac
done
`)
}
