package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A certificate is that of a client, by its files; zero: none is shown.
type certificate struct{ certFile, keyFile string }

// A line is the connections with one certificate, as its files and the CA file
// were when they were made.
type line struct {
	files     [sha256.Size]byte
	transport *http.Transport
}

// line returns what a request with the certificate goes over. It reads the files
// each time: what they hold counts from the next request on.
func (s *Server) line(ctx context.Context, c certificate) (http.RoundTripper, error) {
	if s.wire != nil {
		return s.wire, nil
	}
	files, config, err := s.tlsConfig(c)
	if err != nil {
		return nil, err
	}
	config.Time = agent.ClockOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake(instant{agent.Now(ctx), time.Now()})
	l := s.lines[c]
	if l == nil || l.files != files {
		if l != nil {
			l.transport.CloseIdleConnections()
		}
		l = &line{files, s.transport(config)}
		s.lines[c] = l
	}
	return l.transport, nil
}

// wake closes the connections that a suspended host has slept through.
func (s *Server) wake(now instant) {
	if now.sleptSince(s.seen) {
		for _, l := range s.lines {
			l.transport.CloseIdleConnections()
		}
	}
	s.seen = now
}

// transport asks nothing to be compressed, and speaks HTTP/1.1 alone: one broken
// connection of HTTP/2 would hold up all requests.
func (s *Server) transport(config *tls.Config) *http.Transport {
	b := s.bounds
	dialer := &net.Dialer{Timeout: b.connect, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    b.tls,
		ResponseHeaderTimeout:  b.header,
		IdleConnTimeout:        b.idle,
		MaxIdleConnsPerHost:    s.limits.AtOnce,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
}

// checkProxy is an error unless the proxy gives the connection that was asked for:
// net/http says no more of that than the status text.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return transient("the proxy that https_proxy names refuses the connection with %s; check it, and whether it lets this host there", statusText(answer.StatusCode))
}

// tlsConfig is how to trust the issuer and who we are, with a sum of the files
// that say so.
func (s *Server) tlsConfig(c certificate) (sum [sha256.Size]byte, _ *tls.Config, _ error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var read bytes.Buffer
	if s.address.CAFile != "" {
		authorities, data, err := readAuthorities(s.address.CAFile)
		if err != nil {
			return sum, nil, fmt.Errorf("ca_file %w", err)
		}
		config.RootCAs = authorities
		read.Write(data)
	}
	if c != (certificate{}) {
		pair, data, err := c.load()
		if err != nil {
			return sum, nil, err
		}
		config.Certificates = []tls.Certificate{pair}
		read.Write(data)
	}
	return sha256.Sum256(read.Bytes()), config, nil
}

// Check is an error unless CAFile, where it is set, can be read and holds
// certificates. It begins with the file.
func (a Address) Check() error {
	if a.CAFile == "" {
		return nil
	}
	_, _, err := readAuthorities(a.CAFile)
	return err
}

// readAuthorities reads the certificates of those to trust; data is what the file
// holds.
func readAuthorities(path string) (authorities *x509.CertPool, data []byte, err error) {
	data, err = readPublic(path)
	if err != nil {
		return nil, nil, at(path, err)
	}
	authorities = x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(data) {
		return nil, nil, at(path, errors.New("it holds no certificate in PEM; wanted are those of the authorities to trust"))
	}
	return authorities, data, nil
}

// load reads the certificate and its key; data is what both files hold.
func (c certificate) load() (pair tls.Certificate, data []byte, err error) {
	chain, key, errs := c.read()
	if len(errs) > 0 {
		return pair, nil, errs[0]
	}
	pair, err = tls.X509KeyPair(chain, key)
	if err != nil { // whose words may quote what they met
		return pair, nil, at(c.certFile, fmt.Errorf("it is not a certificate in PEM that belongs to the private key in %s", c.keyFile))
	}
	return pair, append(chain, key...), nil
}

// read reads both files.
func (c certificate) read() (chain, key []byte, errs []error) {
	chain, err := readPublic(c.certFile)
	if err != nil {
		errs = append(errs, at(c.certFile, err))
	}
	if key, err = keys.ReadSecretFile(c.keyFile); err != nil {
		errs = append(errs, err)
	}
	return chain, key, errs
}

// check is what is wrong with the files.
func (c certificate) check() []error {
	if _, _, errs := c.read(); len(errs) > 0 {
		return errs
	}
	if _, _, err := c.load(); err != nil {
		return []error{err}
	}
	return nil
}

// mostPublic is how many bytes a file of certificates may have: those of all
// authorities of a system, with all that is said of them, have half of it.
const mostPublic = 4 << 20

// readPublic reads a file of certificates, as host.Open does; it never waits.
func readPublic(path string) ([]byte, error) {
	data, _, err := host.ReadFile(path, mostPublic)
	if _, irregular := errors.AsType[*host.Irregular](err); irregular {
		err = fmt.Errorf("%w; a file of certificates in PEM is wanted", err)
	}
	return data, err
}
