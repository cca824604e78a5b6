package host

import "testing"

func TestNothingThatATerminalObeysIsPrintable(t *testing.T) {
	const text = "Käse: e\u0301 ok\tx\x1b[2J\r\n\xff\xfe\u202e\u00ad|"
	if got, want := Printable(text, "", '?'), "Käse: e\u0301 ok?x?[2J???"+"??|"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := Printable(text, "\t\n", '·'), "Käse: e\u0301 ok\tx·[2J·\n?··|"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
