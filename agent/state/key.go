package state

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

func (s *State) readKey() ([]byte, error) {
	key, err := readOwn(filepath.Join(s.dir, keyName), keyBytes)
	if err == nil && len(key) != keyBytes {
		err = fmt.Errorf("it has %d bytes, not %d", len(key), keyBytes)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// readOrMakeKey reads the key, or makes one. Where it cannot be written, as on a full disk,
// Check writes it later.
func (s *State) readOrMakeKey() {
	var err error
	if s.key, err = s.readKey(); err == nil {
		return
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.setAside(keyName, err)
	}
	s.key = s.firstKey
	if s.key == nil {
		s.key = make([]byte, keyBytes)
		rand.Read(s.key)
	}
	if err := s.checkKey(); err != nil {
		s.warn("%s cannot be written yet: %v", filepath.Join(s.dir, keyName), err)
	}
}

// checkKey writes the key if the folder does not have it.
func (s *State) checkKey() error {
	if key, err := s.readKey(); err == nil && bytes.Equal(key, s.key) {
		return nil
	}
	return replaceFile(filepath.Join(s.dir, keyName), s.key)
}
