package config

import (
	"bytes"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const (
	mostNesting  = 1000
	harmlessText = 16 << 10 // so few bytes cannot nest beyond the stack
)

// tooDeep reports whether brackets and operators are nested so deeply that parsing or
// evaluating them, which is recursive, could use up the stack. No program survives that.
func tooDeep(text []byte) bool {
	if len(text) <= harmlessText || !mayBeDeep(text) {
		return false
	}
	tokens, _ := hclsyntax.LexConfig(text, "", hcl.InitialPos)
	depth, operators := 0, []int{0} // operators of each open bracket
	for _, t := range tokens {
		last := len(operators) - 1
		if slices.Contains(operating, t.Type) {
			operators[last]++
			depth++
		}
		switch {
		case slices.Contains(opening, t.Type):
			operators = append(operators, 0)
			depth++
		case slices.Contains(closing, t.Type) && last > 0:
			depth -= 1 + operators[last]
			operators = operators[:last]
		case t.Type == hclsyntax.TokenComma || t.Type == hclsyntax.TokenEqual:
			depth -= operators[last]
			operators[last] = 0
		}
		if depth > mostNesting {
			return true
		}
	}
	return false
}

// mayBeDeep reports whether a text has so many brackets and operators between two lines
// that begin with a closing brace that it may be too deep. Few texts have, and counting
// takes a hundredth of the time of tooDeep.
func mayBeDeep(text []byte) bool {
	count := 0
	for line := range bytes.Lines(text) {
		if line[0] == '}' {
			count = 0
		}
		for _, c := range line {
			switch c {
			case '(', '[', '{', '+', '-', '*', '/', '%', '!', '?', '<', '>', '=', '&', '|':
				count++
			}
		}
		if count > mostNesting {
			return true
		}
	}
	return false
}

var (
	opening = []hclsyntax.TokenType{
		hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
		hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl,
	}
	closing = []hclsyntax.TokenType{
		hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
		hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd,
	}
	operating = []hclsyntax.TokenType{ // a bracket too: a[i][j] is an index of an index
		hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr,
		hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenOBrack,
	}
)
