package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	gormsqlite "github.com/glebarez/sqlite"
	gormmysql "gorm.io/driver/mysql"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/sqlpools"
)

// open opens the database on one pool or the other. The group is for the page.
func open(o options) (*sql.DB, *pools.Group, error) {
	if o.pool == "sql" {
		db, err := sql.Open(o.database.driver, o.database.dsn)
		if err != nil {
			return nil, nil, fmt.Errorf("-dsn: %w", err)
		}
		db.SetMaxOpenConns(o.size)
		db.SetMaxIdleConns(o.size)
		return db, nil, nil
	}
	db, pool, err := sqlpools.Open("orders", o.database.driver, o.database.dsn, pools.Settings{Size: o.size}, sqlpools.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("-dsn: %w", err)
	}
	group := new(pools.Group)
	if err := group.Add(pool); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, group, nil
}

// sqliteDSN is a database in a file. Readers do not wait for the writer (WAL); with
// more than one connection, writers wait for each other from their BEGIN on.
func sqliteDSN(folder string) string {
	return "file:" + filepath.ToSlash(filepath.Join(folder, "orders.db")) +
		"?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=busy_timeout(5000)&_txlock=immediate"
}

// store has the queries. GORM gets the *sql.DB that is already open.
type store struct{ db *gorm.DB }

const products = 100

type product struct {
	ID    int64 `json:"id"`
	Stock int64 `json:"stock" gorm:"not null"`
}

func (product) TableName() string { return "example_products" }

type order struct {
	ID        int64     `json:"id"`
	Customer  string    `json:"customer" gorm:"size:100;not null"`
	ProductID int64     `json:"product" gorm:"not null"`
	Quantity  int64     `json:"quantity" gorm:"not null"`
	CreatedAt time.Time `json:"created_at"`
}

func (order) TableName() string { return "example_orders" }

// newStore makes the tables, and fills the shelves.
func newStore(ctx context.Context, o options, db *sql.DB) (*store, error) {
	var dialector gorm.Dialector
	switch o.database.name {
	case mariaDB:
		dialector = gormmysql.New(gormmysql.Config{Conn: db})
	case postgreSQL:
		dialector = gormpostgres.New(gormpostgres.Config{Conn: db})
	default:
		dialector = &gormsqlite.Dialector{Conn: db}
	}
	if err := db.PingContext(ctx); err != nil { // GORM would ask without ctx
		return nil, fmt.Errorf("no connection to the %s: %w; look at the host, user and password of -dsn", o.database.name, err)
	}
	g, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, fmt.Errorf("GORM does not get on with the %s of -dsn: %w", o.database.name, err)
	}
	s := &store{g}
	shelves := make([]product, products)
	for i := range shelves {
		shelves[i] = product{ID: int64(i + 1), Stock: 1 << 40}
	}
	migrated := g.WithContext(ctx).AutoMigrate(&product{}, &order{})
	if migrated == nil {
		migrated = g.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&shelves).Error
	}
	if migrated != nil {
		return nil, fmt.Errorf("the tables cannot be made: %w; give the user of -dsn the right to", migrated)
	}
	return s, nil
}

var errSoldOut = errors.New("not that many are left of the product, or there is no such product")

// place takes the goods from the shelf and writes the order, both or none.
func (s *store) place(ctx context.Context, o *order) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		taken := tx.Model(&product{}).Where("id = ? AND stock >= ?", o.ProductID, o.Quantity).
			Update("stock", gorm.Expr("stock - ?", o.Quantity))
		if taken.Error != nil {
			return taken.Error
		}
		if taken.RowsAffected == 0 {
			return errSoldOut
		}
		return tx.Create(o).Error
	})
}

func (s *store) order(ctx context.Context, id int64) (o order, err error) {
	err = s.db.WithContext(ctx).Take(&o, id).Error
	return o, err
}

func (s *store) product(ctx context.Context, id int64) (p product, err error) {
	err = s.db.WithContext(ctx).Take(&p, id).Error
	return p, err
}
