package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const benchToken = `
token "%s" {
%s
  source   = source.fake.s
  profile  = "scitokens"
  subject  = "pilot"
  audience = ["%s:9619"]
  scope    = ["condor:/READ", "condor:/WRITE"]
  lifetime = "1h"
  renew {
    min_remaining = "40m"
    cron          = "30 4 * * *"
  }
  sink "fake" {
    path = "/var/lib/tokens/%s.scitoken"
    mode = "0600"
  }
}
`

func benchmarkLoad(b *testing.B, text string, tokens int) {
	folder := write(b, map[string]string{"a.hcl": oneSource + text})
	for b.Loop() {
		config, faults := Load(b.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), testEnvironment())
		if faults.HasErrors() || len(config.Renewers) != tokens {
			b.Fatal(len(config.Renewers), faults)
		}
	}
}

// BenchmarkLoad10kInstances loads one token block with 10,000 instances.
func BenchmarkLoad10kInstances(b *testing.B) {
	var keys strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&keys, "  \"ce%d.example.org\",\n", i)
	}
	text := fmt.Sprintf("locals {\n ces = toset([\n%s])\n}\n", keys.String()) +
		fmt.Sprintf(benchToken, "pilot", "  for_each = local.ces", "${each.value}", "${each.value}")
	benchmarkLoad(b, text, 10_000)
}

// BenchmarkLoad10kBlocks loads 10,000 token blocks.
func BenchmarkLoad10kBlocks(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		name := fmt.Sprintf("ce%d", i)
		fmt.Fprintf(&text, benchToken, name, "", name, name)
	}
	benchmarkLoad(b, text.String(), 10_000)
}

// BenchmarkLoadWrong10kInstances loads 10,000 instances that all have the same faults.
func BenchmarkLoadWrong10kInstances(b *testing.B) {
	text := "locals {\n ces = { for n in concat(range(1000), range(1000, 2000), range(2000, 3000), range(3000, 4000), range(4000, 5000)," +
		" range(5000, 6000), range(6000, 7000), range(7000, 8000), range(8000, 9000), range(9000, 10000)): \"ce${n}\" => n }\n}\n" +
		fmt.Sprintf(benchToken, "pilot", "  for_each = local.ces\n  nonsense = each.value.x", "${each.key}", "${each.key}")
	folder := write(b, map[string]string{"a.hcl": oneSource + text})
	for b.Loop() {
		_, faults := Load(b.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), testEnvironment())
		if len(faults) != 1 {
			b.Fatal(len(faults), faults)
		}
	}
}

// BenchmarkLoadWrong10k loads 10,000 blocks that all have the same fault.
func BenchmarkLoadWrong10k(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		name := fmt.Sprintf("ce%d", i)
		fmt.Fprintf(&text, benchToken, name, "  audeince = 5", name, name)
	}
	folder := write(b, map[string]string{"a.hcl": oneSource + text.String()})
	for b.Loop() {
		_, faults := Load(b.Context(), []string{filepath.Join(folder, "a.hcl")}, fakes("key"), testEnvironment())
		if len(faults) != 10_000 {
			b.Fatal(len(faults))
		}
	}
}
