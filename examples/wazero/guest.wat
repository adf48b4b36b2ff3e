;; The guest counts words, and does what guests do to a pool: it remembers, grows,
;; loops, traps and exits. guest.wasm is made of it by go generate.
(module $guest
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "env" "pause" (func $pause))

  (memory (export "memory") 1) ;; pages of 64 KiB
  (global $top (export "top") (mut i32) (i32.const 16)) ;; what lies above is free
  (global $total (export "total") (mut i32) (i32.const 0)) ;; words counted so far

  ;; alloc returns the address of n free bytes, and traps if there are none. As in
  ;; many guests, nothing is ever given back.
  (func (export "alloc") (param $n i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (local.get $at) (local.get $n)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $enough (i32.ge_s (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $n) (i32.const 16)))) (i32.const 0)))
      unreachable)
    (local.get $at))

  ;; words returns how many words the n bytes at p have.
  (func (export "words") (param $p i32) (param $n i32) (result i32)
    (local $end i32) (local $count i32) (local $inside i32)
    (local.set $end (i32.add (local.get $p) (local.get $n)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
        (if (i32.le_u (i32.load8_u (local.get $p)) (i32.const 32))
          (then (local.set $inside (i32.const 0)))
          (else
            (local.set $count (i32.add (local.get $count) (i32.eqz (local.get $inside))))
            (local.set $inside (i32.const 1))))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br $next)))
    (global.set $total (i32.add (global.get $total) (local.get $count)))
    (local.get $count))

  ;; count calls the host, and then adds one to total n times.
  (func (export "count") (param $n i32)
    (call $pause)
    (loop $next
      (global.set $total (i32.add (global.get $total) (i32.const 1)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $next (local.get $n))))

  (func (export "spin") (loop $for_ever (br $for_ever)))

  (func (export "trap")
    (global.set $total (i32.const -1)) ;; half of something
    unreachable)

  (func (export "quit") (param $code i32) (call $proc_exit (local.get $code))))
