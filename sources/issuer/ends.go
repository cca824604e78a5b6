package issuer

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

// CertificateEnd is when the first certificate of the client's file ends; the zero time
// for a client without one. Its error begins with the file.
func (c Client) CertificateEnd() (time.Time, error) {
	if c.Auth != "tls_client_auth" {
		return time.Time{}, nil
	}
	ends, err := endsIn(c.CertFile)
	if len(ends) == 0 {
		return time.Time{}, err
	}
	return slices.MinFunc(ends, time.Time.Compare), nil
}

// AuthoritiesEnd is when the last certificate of CAFile ends; the zero time where there is
// no such file. Its error begins with the file.
func (a Address) AuthoritiesEnd() (time.Time, error) {
	if a.CAFile == "" {
		return time.Time{}, nil
	}
	ends, err := endsIn(a.CAFile)
	if len(ends) == 0 {
		return time.Time{}, err
	}
	return slices.MaxFunc(ends, time.Time.Compare), nil
}

// endsIn are the ends of the certificates in a file. Of those that cannot be read, who
// uses them tells.
func endsIn(path string) (ends []time.Time, err error) {
	data, err := readPublic(path)
	if err != nil {
		return nil, at(path, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			ends = append(ends, c.NotAfter)
		}
	}
	return ends, nil
}
