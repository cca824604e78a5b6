package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
)

var errForeignD = errors.New("its d does not belong to its n and e")

// privateRSA is the private key of n, e and d (RFC 7518 section 6.3.2). The primes p
// and q are computed where they are missing. What can be computed from them, dp, dq
// and qi, is not read.
func (m *members) privateRSA(public *rsa.PublicKey) (*rsa.PrivateKey, error) {
	if m.has("oth") {
		return nil, errors.New("it has more than two primes (oth); make a new key with two")
	}
	d, err := m.number("d")
	if err != nil {
		return nil, err
	}
	p, q, err := m.primes(public, d)
	if err != nil {
		return nil, err
	}
	private := &rsa.PrivateKey{PublicKey: *public, D: d, Primes: []*big.Int{p, q}}
	private.Precompute()
	if private.Validate() != nil {
		return nil, errForeignD
	}
	return private, nil
}

// primes are p and q as the key names them, or else as they follow from d.
func (m *members) primes(public *rsa.PublicKey, d *big.Int) (p, q *big.Int, err error) {
	if !m.has("p") || !m.has("q") {
		if p, q = factor(public.N, big.NewInt(int64(public.E)), d); p == nil {
			return nil, nil, errForeignD
		}
		return p, q, nil
	}
	if p, err = m.number("p"); err != nil {
		return nil, nil, err
	}
	if q, err = m.number("q"); err != nil {
		return nil, nil, err
	}
	if new(big.Int).Mul(p, q).Cmp(public.N) != 0 {
		return nil, nil, errors.New("its p and q do not multiply to its n")
	}
	return p, q, nil
}

var one = big.NewInt(1)

// factor finds the primes of n as NIST SP 800-56B appendix C.2 does; nil where d does
// not belong to n and e. Raised to the power e·d−1, every number g leaves 1. On the
// way there, by squares, at least every second g meets a root of 1 other than ±1, and
// that shares a prime with n.
func factor(n, e, d *big.Int) (p, q *big.Int) {
	k := new(big.Int).Mul(e, d)
	k.Sub(k, one)
	if n.Bit(0) == 0 || k.Sign() <= 0 || k.Bit(0) == 1 || d.Cmp(n) > 0 {
		return nil, nil
	}
	const attempts = 100 // which fail for one key in 2¹⁰⁰
	for range attempts {
		g, err := rand.Int(rand.Reader, n)
		if err != nil {
			return nil, nil
		}
		if new(big.Int).GCD(nil, nil, g, n).Cmp(one) != 0 {
			continue // 0 and multiples of a prime leave no 1; only tiny keys meet them
		}
		root, isOne := rootOfOne(g, k, n)
		if !isOne {
			return nil, nil
		}
		if root == nil {
			continue
		}
		p = new(big.Int).GCD(nil, nil, root.Sub(root, one), n)
		q = new(big.Int).Quo(n, p)
		if !leavesNothing(k, p) || !leavesNothing(k, q) {
			return nil, nil
		}
		return p, q
	}
	return nil, nil
}

// leavesNothing reports whether k is a multiple of p−1, as it is if d belongs to the key.
func leavesNothing(k, p *big.Int) bool {
	return new(big.Int).Mod(k, new(big.Int).Sub(p, one)).Sign() == 0
}

// rootOfOne is a square root of 1 modulo n other than ±1 among the powers of g; nil
// where there is none. isOne reports whether g to the power k, an even number, is 1.
func rootOfOne(g, k, n *big.Int) (root *big.Int, isOne bool) {
	squares := k.TrailingZeroBits()
	minusOne := new(big.Int).Sub(n, one)
	x := new(big.Int).Exp(g, new(big.Int).Rsh(k, squares), n)
	if x.Cmp(one) == 0 {
		return nil, true
	}
	for range squares {
		if x.Cmp(minusOne) == 0 {
			return nil, true
		}
		y := new(big.Int).Mul(x, x)
		y.Mod(y, n)
		if y.Cmp(one) == 0 {
			return x, true
		}
		x = y
	}
	return nil, false
}
