"""scikit-learn's tools around a lifted network: a pipeline that standardises, a search for a rate, codes of an autoencoder."""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import paralift as pl

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, random_state=0)
classifier = pl.LiftedClassifier((64,), epochs=30, random_state=0)
rates = {"liftedclassifier__optimizer": ["Adam(1e-4)", "Adam(1e-2)"]}
search = GridSearchCV(make_pipeline(StandardScaler(), classifier), rates, cv=3).fit(x_train, y_train)
print(f"{search.best_params_['liftedclassifier__optimizer']}: {search.best_score_:.3f} of what was set aside")
coder = pl.LiftedAutoencoder(8, (64,), optimizer="Adam(3e-3)", epochs=30, random_state=0).fit(x_train / 16)
print(f"a code of 8 numbers keeps {coder.score(x_test / 16):.0%} of the variance of 64 pixels")
print(f"test accuracy {search.score(x_test, y_test):.4f}")
