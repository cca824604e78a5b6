package config

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
)

// doubling are locals of which each is made of the one before, twice.
func doubling(first, each string, times int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "locals {\n l0 = %s\n", first)
	for n := range times {
		fmt.Fprintf(&text, " l%d = %s\n", n+1, strings.ReplaceAll(each, "X", fmt.Sprintf("local.l%d", n)))
	}
	text.WriteString("}\n")
	return text.String()
}

// Without a bound each of these asks for more memory than any machine has, or for more
// time than anybody waits.
func TestAnExpressionThatMakesTooMuchIsAFaultAtItsPlace(t *testing.T) {
	const elements, text, mib = "the expression makes too many elements", "the expression makes too much text", "more than 1 MiB"
	for name, c := range map[string]struct{ text, want string }{
		"nested for":             {"locals {\n x = [for a in range(100): [for b in range(100): [for c in range(100): a]]]\n}\n", "2:60: " + elements},
		"a for that makes keys":  {"locals {\n x = {for a in range(100): a => {for b in range(100): b => {for c in range(100): c => a}}}\n}\n", elements},
		"a for without a result": {"locals {\n x = [for a in range(100): [for b in range(100): [for c in range(100): a if false]]]\n}\n", elements},
		"an if of many":          {"locals {\n x = [for a in range(100): a if [for b in range(100): [for c in range(100): c]] == []]\n}\n", elements},
		"a splat":                {"locals {\n w = [for a in range(100): a]\n x = [for a in local.w: [for b in local.w: local.w[*]]]\n}\n", elements},
		"many splats":            {"locals {\n w = [for a in range(100): a]\n x = [" + strings.Repeat("local.w[*],", 300) + "]\n}\n", elements},
		"a splat of many":        {"locals {\n x = [for a in range(100): [for b in range(100): [for c in range(100): a]]][*]\n}\n", elements},
		"concat of lists":        {doubling("[for a in range(100): a]", "concat(X, X)", 30), elements},
		"lists of lists":         {doubling("[1, 2]", "[X, X]", 40), elements},
		"objects of objects":     {doubling("{ a = 1 }", "{ a = X, b = X }", 40), elements},
		"texts of texts":         {doubling(`"0123456789"`, `"${X}${X}"`, 40), text},
		"a template for":         {"locals {\n w = [for a in range(100): a]\n x = \"%{ for a in local.w }%{ for b in local.w }%{ for c in local.w }0123456789%{ endfor }%{ endfor }%{ endfor }\"\n}\n", "the expression makes too"},
		"join":                   {doubling(`"0123456789"`, `join(X, [X, X, X])`, 40), text},
		"a long separator":       {doubling(`"0123456789"`, `"${X}${X}"`, 12) + "locals {\n j = join(local.l12, [for a in range(100): \"\"])\n}\n", mib},
		"replace":                {doubling(`"aaaaaaaaaa"`, `replace(X, "a", X)`, 9), mib},
		"a long number":          {"locals {\n x = \"a${1e100000000}\"\n}\n", "2:10: a number is too long"},
		"many zeros":             {"locals {\n x = lower(1e-100000000)\n}\n", "2:12: a number is too long"},
		"a long number as a key": {"locals {\n x = { (1e100000000) = 1 }\n}\n", "a number is too long"},
		"a long number in JSON":  {"locals {\n x = join(\"\", jsondecode(\"[1e100000000]\"))\n}\n", "a number is too long"},
		"a wide format":          {"locals {\n x = format(\"%1000000000d\", 1)\n}\n", mib},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(write(t, map[string]string{"a.hcl": c.text}), "a.hcl")
			_, faults := loadWithin(t.Context(), limits{20_000, 1 << 20, 200_000}, []string{path}, fakes("key"), testEnvironment())
			if got := faults.Error(); !strings.Contains(got, c.want) {
				t.Errorf("got %.600s; want %s", got, c.want)
			}
		})
	}
}

// The most that an expression may make fits into the memory of a small machine.
func TestTheMostThatAnExpressionMakesIsNoGigabyte(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.hcl": "locals {\n x = [for a in range(1000): [for b in range(1000): { a = a, b = b }]]\n}\n"}), "a.hcl")
	peak := memoryWhile(func() {
		if _, faults := Load(t.Context(), []string{path}, fakes("key"), testEnvironment()); !strings.Contains(faults.Error(), "too many elements") {
			t.Error(faults.Error())
		}
	})
	if peak > 1<<30 {
		t.Errorf("it took %d MiB", peak>>20)
	}
	t.Logf("it took %d MiB", peak>>20)
}

// memoryWhile is how much more memory the heap had at most while f ran.
func memoryWhile(f func()) (most uint64) {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	for {
		select {
		case <-done:
			return most
		case <-time.After(20 * time.Millisecond):
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		}
	}
}

// Many errors of one expression are told like a few: they say the same.
func TestAnExpressionThatFailsForEachElementIsToldAFewTimes(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.hcl": "locals {\n x = [for a in range(1000): [for b in range(1000): a.name]]\n}\n"}), "a.hcl")
	_, faults := Load(t.Context(), []string{path}, fakes("key"), testEnvironment())
	if n := len(faults.Errors()); n == 0 || n > mostErrors {
		t.Errorf("%d errors", n)
	}
}

// Locals that refer to each other in a long row must not use up the stack.
func TestLocalsThatReferToEachOtherInALongRowAreAFault(t *testing.T) {
	var text strings.Builder
	text.WriteString("locals {\n")
	for n := range 5000 {
		fmt.Fprintf(&text, " l%d = local.l%d\n", n, n+1)
	}
	text.WriteString(" l5000 = 1\n}\n")
	path := filepath.Join(write(t, map[string]string{"a.hcl": text.String()}), "a.hcl")
	if _, faults := Load(t.Context(), []string{path}, fakes("key"), testEnvironment()); !strings.Contains(faults.Error(), "the locals are nested too deeply") {
		t.Errorf("got %.300s", faults.Error())
	}
}

// What large sites write is far within the bounds; here it is a tenth of both.
func TestAHundredThousandTokensAreWithinTheBounds(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.hcl": `
locals {
  pairs = concat([for ce in range(100): [for vo in range(100): { name = "ce${ce}-vo${vo}", ce = "ce${ce}.example.org", vo = "vo${vo}" }]]...)
  named = { for p in local.pairs : p.name => p }
}
`}), "a.hcl")
	tenth := limits{usual.elements / 10, usual.bytes / 10, usual.work / 10}
	if _, faults := loadWithin(t.Context(), tenth, []string{path}, fakes("key"), testEnvironment()); strings.Contains(faults.Error(), "too m") {
		t.Error(faults.Error())
	}
}

// A folder that hangs, or an expression that takes long, ends with the context.
func TestALoadEndsWithItsContext(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.hcl": "source \"slow\" \"k\" {\n}\n"}), "a.hcl")
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	kinds := Kinds{Sources: map[string]SourceDecoder{"slow": func(*Block) Source { cancel(); <-hang; return Source{} }}}
	config, faults := Load(ctx, []string{path}, kinds, testEnvironment())
	if !strings.Contains(faults.Error(), "not read completely") || len(config.Renewers) > 0 {
		t.Error(faults.Error())
	}
}

func TestAForEachMakesABoundedNumberOfTokens(t *testing.T) {
	many := map[string]cty.Value{}
	for n := range mostInstances + 1 {
		many[fmt.Sprint(n)] = cty.True
	}
	if got := wrongForEach(cty.MapVal(many)); !strings.Contains(got, "it makes 200001 instances, and one block makes at most 200000") {
		t.Error(got)
	}
}
