package pools_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log"
	"sync"

	"github.com/utopia-go/pools"
)

// Use2 takes one connection from each of two pools. The two goroutines name the
// pools in opposite orders and still cannot deadlock.
func ExampleUse2() {
	ctx := context.Background()
	compressors, err := pools.New("compressors", pools.OpenFunc(func(context.Context) (*flate.Writer, error) {
		return flate.NewWriter(io.Discard, flate.BestSpeed)
	}), pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer compressors.Close(ctx)
	hashes, err := pools.New("hashes", pools.Connector[hash.Hash]{
		Open:  func(context.Context) (hash.Hash, error) { return sha256.New(), nil },
		Close: func(context.Context, hash.Hash) error { return nil },
	}, pools.Settings{Size: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer hashes.Close(ctx)

	var wg sync.WaitGroup
	same := make([]bool, 2)
	check := func(i int, w *flate.Writer, h hash.Hash) (err error) {
		same[i], err = survives(w, h, []byte("the same bytes, again and again"))
		return err
	}
	wg.Go(func() {
		if err := pools.Use2(ctx, compressors, hashes, func(w *flate.Writer, h hash.Hash) error {
			return check(0, w, h)
		}); err != nil {
			log.Print(err)
		}
	})
	wg.Go(func() {
		if err := pools.Use2(ctx, hashes, compressors, func(h hash.Hash, w *flate.Writer) error {
			return check(1, w, h)
		}); err != nil {
			log.Print(err)
		}
	})
	wg.Wait()
	fmt.Println(same)
	// Output: [true true]
}

// survives reports whether data is the same after compression and decompression.
func survives(w *flate.Writer, h hash.Hash, data []byte) (bool, error) {
	var compressed bytes.Buffer
	w.Reset(&compressed)
	if _, err := w.Write(data); err != nil {
		return false, err
	}
	if err := w.Close(); err != nil {
		return false, err
	}
	h.Reset()
	h.Write(data)
	before := h.Sum(nil)
	h.Reset()
	if _, err := io.Copy(h, flate.NewReader(&compressed)); err != nil {
		return false, err
	}
	return bytes.Equal(before, h.Sum(nil)), nil
}
