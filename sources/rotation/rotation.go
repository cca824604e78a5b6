// Package rotation keeps the keys of a simple issuer through their life: it creates them,
// publishes their public halves, has one sign, lets a successor take over when every
// verifier must have seen it, and removes a key when nobody needs it any more. A simple
// issuer is a key that signs and a document on a web server that verifiers fetch.
//
// It never logs.
package rotation
